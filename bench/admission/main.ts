// `npm run bench -- admission`: what the injector's webhook costs, measured on the process that a cluster would run, with the role `injector` alone, on one
// core: reviews a second as fast as they go and the CPU of each, latency at a constant rate, the time of a pod of 1 MB, and private memory.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { monoMs, type Pace } from "../load/pacer.ts";
import { cpuMs, memory } from "../load/process-cost.ts";
import { createProcesses } from "../load/processes.ts";
import { type Caller, createCaller } from "./caller.ts";
import { startInjectorUnderTest } from "./cluster.ts";
import { largeReview, ordinaryReview } from "./reviews.ts";

const DIFFERENT_REVIEWS = 500;
const LARGE_BYTES = 1024 * 1024;
const LARGE_CALLS = 20;
const IN_FLIGHT = 16;
const WARM_UP_MS = 3_000;

interface Options {
  readonly seconds: number;
  readonly rate: number;
  readonly protocol: "h1" | "h2";
  readonly core: number;
}

/** Runs the measurements and prints them; false when an argument is wrong or an answer was not what it should be. */
export async function runAdmission(words: readonly string[]): Promise<boolean> {
  const options = parse(words);
  if (typeof options === "string") return refuse(options);
  const folder = await mkdtemp(join(tmpdir(), "remora-admission-"));
  const processes = createProcesses();
  let close = () => Promise.resolve();
  try {
    const started = await startInjectorUnderTest(folder, processes.start, options.core);
    close = started.close;
    const { pid, webhookPort, caPem } = started.injector;
    const caller = createCaller({ port: webhookPort, caPem, protocol: options.protocol });
    const bodies = Array.from({ length: DIFFERENT_REVIEWS }, (_, index) => Buffer.from(ordinaryReview(index)));
    await check(caller, bodies[0] as Buffer); // made just above
    say(
      `${cpus()[0]?.model}, ${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)} before; Node ${process.version}; ${options.protocol}; reviews of ${sizeOf(bodies)} bytes`,
    );
    say(`private memory idle ${megabytes(pid)} MB`);
    await asFastAsTheyGo(caller, bodies, WARM_UP_MS);
    await throughput(caller, bodies, pid, options);
    await constantRate(caller, bodies, pid, options);
    await large(caller, pid);
    say(`private memory at the end ${megabytes(pid)} MB, at its highest ${await peakMegabytes(pid)} MB resident`);
    caller.close();
    return true;
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  } finally {
    await processes.close();
    await close();
    await rm(folder, { recursive: true, force: true });
  }
}

function parse(words: readonly string[]): Options | string {
  const defaults = { seconds: "10", rate: "200", protocol: "h1", core: "0" };
  const option = (name: keyof typeof defaults) => ({ type: "string", default: defaults[name] }) as const;
  let values: Record<keyof typeof defaults, string>;
  try {
    const options = { seconds: option("seconds"), rate: option("rate"), protocol: option("protocol"), core: option("core") };
    ({ values } = parseArgs({ args: [...words], options }));
  } catch (error) {
    return (error as Error).message;
  }
  const [seconds, rate, core] = [Number(values.seconds), Number(values.rate), Number(values.core)];
  if (!(seconds >= 1 && seconds <= 3600)) return `--seconds is a number from 1 to 3600, not "${values.seconds}"`;
  if (!(rate >= 1 && rate <= 10_000)) return `--rate is a number from 1 to 10000, not "${values.rate}"`;
  if (!(Number.isInteger(core) && core >= 0)) return `--core is the number of a core, not "${values.core}"`;
  if (values.protocol !== "h1" && values.protocol !== "h2") return `--protocol is h1 or h2, not "${values.protocol}"`;
  return { seconds, rate, protocol: values.protocol, core };
}

/** What is measured has to be an injection, or its speed means nothing. */
async function check(caller: Caller, body: Buffer): Promise<void> {
  const { response } = JSON.parse(await caller.call(body)) as { readonly response: { readonly patch?: string; readonly status?: unknown } };
  const patch = Buffer.from(response.patch ?? "", "base64").toString();
  if (!patch.includes("remora-sidecar")) throw new Error(`the pod was not injected: ${JSON.stringify(response).slice(0, 500)}`);
}

async function throughput(caller: Caller, bodies: readonly Buffer[], pid: number, { seconds }: Options): Promise<void> {
  const cpuBefore = cpuMs(pid);
  const { count, tookMs } = await asFastAsTheyGo(caller, bodies, seconds * 1000);
  const costUs = ((cpuMs(pid) - cpuBefore) * 1000) / count;
  const perSecond = (count / tookMs) * 1000;
  say(
    `as fast as they go, ${IN_FLIGHT} in flight: ${perSecond.toFixed(0)} reviews/s, ${costUs.toFixed(0)} µs CPU each, so ${(1e6 / costUs).toFixed(0)}/s of a whole core`,
  );
}

async function asFastAsTheyGo(caller: Caller, bodies: readonly Buffer[], forMs: number): Promise<{ count: number; tookMs: number }> {
  const startedMs = performance.now();
  let count = 0;
  const one = async () => {
    while (performance.now() - startedMs < forMs) {
      await caller.call(bodies[count % bodies.length] as Buffer); // the index is below the length
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, one));
  return { count, tookMs: performance.now() - startedMs };
}

/** Each call has its due time, and its latency counts from there: one that waits behind a slow one is as late as its caller finds it. */
async function constantRate(caller: Caller, bodies: readonly Buffer[], pid: number, { seconds, rate }: Options): Promise<void> {
  const cpuBefore = cpuMs(pid);
  const count = Math.round(seconds * rate);
  const pace: Pace = { startMonoMs: monoMs() + 100, intervalMs: 1000 / rate, count };
  const pacer = new Worker(new URL("../load/pacer.ts", import.meta.url), { workerData: pace });
  const latencies: number[] = [];
  await new Promise<void>((resolve, reject) => {
    pacer.on("error", reject);
    pacer.on("message", (number: number) => {
      const dueMonoMs = pace.startMonoMs + number * pace.intervalMs;
      caller.call(bodies[number % bodies.length] as Buffer).then(() => {
        latencies.push(monoMs() - dueMonoMs);
        if (latencies.length === count) resolve();
      }, reject);
    });
  });
  const costUs = ((cpuMs(pid) - cpuBefore) * 1000) / count;
  say(`${rate} reviews/s: ${percentiles(latencies)}; ${costUs.toFixed(0)} µs CPU each`);
}

async function large(caller: Caller, pid: number): Promise<void> {
  const latencies: number[] = [];
  let size = 0;
  const cpuBefore = cpuMs(pid);
  for (let index = 0; index < LARGE_CALLS; index += 1) {
    const body = Buffer.from(largeReview(index, LARGE_BYTES));
    size = body.length;
    const startedMs = performance.now();
    const answer = await caller.call(body);
    latencies.push(performance.now() - startedMs);
    if (!answer.includes('"patch"')) throw new Error(`the large pod was not injected: ${answer.slice(0, 500)}`);
  }
  const costMs = (cpuMs(pid) - cpuBefore) / LARGE_CALLS;
  say(
    `a pod of ${(size / 1024 / 1024).toFixed(2)} MB, one at a time: ${percentiles(latencies)}, first ${latencies[0]?.toFixed(1)} ms; ${costMs.toFixed(1)} ms CPU each`,
  );
}

function percentiles(latencies: readonly number[]): string {
  const sorted = [...latencies].sort((a, b) => a - b);
  const at = (share: number) => (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0).toFixed(1);
  return `p50 ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, worst ${at(1)} ms`;
}

function megabytes(pid: number): string {
  return (memory(pid).privateKiB / 1024).toFixed(0);
}

async function peakMegabytes(pid: number): Promise<string> {
  const kib = /^VmHWM:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];
  return (Number(kib) / 1024).toFixed(0);
}

function sizeOf(bodies: readonly Buffer[]): number {
  return Math.round(bodies.reduce((sum, { length }) => sum + length, 0) / bodies.length);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function refuse(sentence: string): false {
  process.stderr.write(`${sentence}\n`);
  return false;
}
