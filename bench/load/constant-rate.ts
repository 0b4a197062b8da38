// Constant load as a program: `constant-rate.ts OPTIONS-AS-JSON` sends GETs by the clock, whatever becomes of the answers, and prints a ConstantRateResult.
// Latency counts from the moment a request was due, so one that waited for a slow answer on its connection is not left out (no coordinated omission).
// Raw sockets and one write a request, so that it takes little of the machine.
import { connect, type Socket } from "node:net";
import { constants, setPriority } from "node:os";
import { Worker } from "node:worker_threads";
import { monoMs, type Pace } from "./pacer.ts";
import { mean, rank } from "./rank.ts";
import { createResponseReader } from "./response-reader.ts";

/** What to send. */
export interface ConstantRateOptions {
  readonly url: string;
  readonly host: string | null;
  readonly connections: number;
  readonly perSecond: number;
  readonly durationS: number;
}

/** What came of it. */
export interface ConstantRateResult {
  readonly requests: number;
  /** Anything but a 2xx answer, and what was not answered within 5 s after the last was due. */
  readonly failed: number;
  /** Times from when a request was due to the last byte of its answer. */
  readonly meanMs: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  /** How late this program itself was with sending, where no earlier answer was in the way. */
  readonly lateP99Ms: number;
  /** CPU time of this program per request. */
  readonly ownCpuUs: number;
}

/** Between the first request of each connection, which is not counted, and the first that is. */
const LEAD_MS = 100;
const LAST_ANSWERS_MS = 5_000;
const READ_BYTES = 65_536;

/** One connection: at most one request is on it at a time, the others wait in line. */
interface Line {
  readonly socket: Socket;
  /** When the requests that wait were due. */
  readonly waiting: number[];
  /** When the request on the wire was due; null when there is none. */
  dueMonoMs: number | null;
}

/** Runs the load to its end. */
export async function runConstantRate(options: ConstantRateOptions): Promise<ConstantRateResult> {
  const { perSecond, durationS, connections } = options;
  const count = perSecond * durationS;
  const latencies: number[] = [];
  const lateness: number[] = [];
  const request = requestBytes(options);
  let failed = 0;
  let done: () => void = () => {};
  const finished = new Promise<void>((resolve) => (done = resolve));
  const settle = () => {
    if (latencies.length + failed >= count) done();
  };

  const send = (line: Line, dueMonoMs: number) => {
    line.dueMonoMs = dueMonoMs;
    line.socket.write(request);
  };
  const answered = (line: Line, ok: boolean) => {
    const { dueMonoMs } = line;
    if (dueMonoMs === null) return line.socket.destroy(new Error("an answer nobody asked for"));
    if (ok) latencies.push(monoMs() - dueMonoMs);
    else failed += 1;
    line.dueMonoMs = null;
    const next = line.waiting.shift();
    if (next !== undefined) send(line, next);
    settle();
  };
  const lines = await Promise.all(Array.from({ length: connections }, () => openLine(options.url, request, answered)));
  const pace: Pace = { startMonoMs: monoMs() + LEAD_MS, intervalMs: 1_000 / perSecond, count };
  for (const line of lines)
    line.socket.on("close", () => {
      failed += line.waiting.length + (line.dueMonoMs === null ? 0 : 1);
      line.waiting.length = 0;
      line.dueMonoMs = null;
      settle();
    });
  const pacer = new Worker(new URL("./pacer.ts", import.meta.url), { workerData: pace });
  pacer.on("message", (number: number) => {
    const line = lines[number % lines.length] as Line; // there is at least one
    const dueMonoMs = pace.startMonoMs + number * pace.intervalMs;
    if (line.socket.destroyed) {
      failed += 1;
      settle();
    } else if (line.dueMonoMs !== null) line.waiting.push(dueMonoMs);
    else {
      lateness.push(monoMs() - dueMonoMs);
      send(line, dueMonoMs);
    }
  });
  const before = process.cpuUsage();
  const giveUp = setTimeout(done, LEAD_MS + durationS * 1_000 + LAST_ANSWERS_MS);
  await finished;
  clearTimeout(giveUp);
  const used = process.cpuUsage(before);
  await pacer.terminate();
  for (const { socket } of lines) socket.destroy();
  latencies.sort((a, b) => a - b);
  lateness.sort((a, b) => a - b);
  return {
    requests: latencies.length,
    failed: count - latencies.length,
    meanMs: mean(latencies),
    p50Ms: rank(latencies, 0.5),
    p90Ms: rank(latencies, 0.9),
    p99Ms: rank(latencies, 0.99),
    p999Ms: rank(latencies, 0.999),
    lateP99Ms: rank(lateness, 0.99),
    ownCpuUs: (used.user + used.system) / count,
  };
}

/** Connects, and sends a first request that is not counted. Rejects when it is not answered with 2xx. */
function openLine(url: string, request: Buffer, answered: (line: Line, ok: boolean) => void): Promise<Line> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    let opened = false;
    const read = createResponseReader((ok) => {
      if (opened) return answered(line, ok);
      opened = true;
      if (ok) resolve(line);
      else reject(new Error("the first answer is not 2xx"));
    });
    const socket = connect({
      host: hostname,
      port: Number(port),
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafe(READ_BYTES),
        callback: (bytes, buffer) => {
          try {
            read(Buffer.from(buffer.buffer, buffer.byteOffset, bytes));
          } catch (error) {
            socket.destroy(error as Error);
          }
          return true;
        },
      },
    });
    const line: Line = { socket, waiting: [], dueMonoMs: null };
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("closed before the first answer")));
    socket.write(request);
  });
}

function requestBytes({ url, host }: ConstantRateOptions): Buffer {
  const { pathname, host: own } = new URL(url);
  return Buffer.from(`GET ${pathname} HTTP/1.1\r\nHost: ${host ?? own}\r\n\r\n`, "latin1");
}

/** Ahead of what else runs, where that is allowed: how late this program is counts as latency of whatever it measures. */
function hurry(): void {
  try {
    setPriority(constants.priority.PRIORITY_HIGH);
  } catch {
    // only root may; the numbers are good without, with a longer tail
  }
}

if (import.meta.main) {
  hurry();
  const options = JSON.parse(process.argv[2] ?? "{}") as ConstantRateOptions; // from our own parent
  try {
    process.stdout.write(`${JSON.stringify(await runConstantRate(options))}\n`);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exit(1); // other connections may still be open
  }
}
