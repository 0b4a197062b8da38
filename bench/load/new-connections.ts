// A new connection for each request as a program: `new-connections.ts OPTIONS-AS-JSON` prints a NewConnectionsResult. It stands in where wrk is not
// installed: h2load keeps its connections, and autocannon 9.0 sends a second request into those that close.
import { connect } from "node:net";
import { mean, rank } from "./rank.ts";
import { createResponseReader } from "./response-reader.ts";

/** What to send. */
export interface NewConnectionsOptions {
  readonly url: string;
  readonly host: string | null;
  /** Open at the same time. */
  readonly connections: number;
  readonly durationS: number;
}

/** What came of it; times from before connecting to the last byte of the answer. */
export interface NewConnectionsResult {
  readonly requests: number;
  readonly failed: number;
  readonly perSecond: number;
  readonly meanMs: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
}

const ANSWER_TIMEOUT_MS = 5_000;
/** Before the next try of a connection slot whose last one failed: a target that is down is not hammered. */
const AFTER_FAILURE_MS = 10;

/** Runs the load to its end. */
export async function runNewConnections({ url, host, connections, durationS }: NewConnectionsOptions): Promise<NewConnectionsResult> {
  const { hostname, port, pathname, host: own } = new URL(url);
  const request = `GET ${pathname} HTTP/1.1\r\nHost: ${host ?? own}\r\nConnection: close\r\n\r\n`;
  const latencies: number[] = [];
  let failed = 0;

  const askOnce = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect({ host: hostname, port: Number(port), noDelay: true });
      const finish = (ok: boolean) => {
        socket.destroy();
        resolve(ok); // what comes after the first time changes nothing
      };
      const read = createResponseReader(finish);
      socket.setTimeout(ANSWER_TIMEOUT_MS, () => finish(false));
      socket.on("data", (bytes: Buffer) => {
        try {
          read(bytes);
        } catch {
          finish(false);
        }
      });
      socket.on("error", () => finish(false));
      socket.on("close", () => finish(false));
      socket.write(request);
    });

  const startedMonoMs = performance.now();
  const endMonoMs = startedMonoMs + durationS * 1_000;
  const askAgainAndAgain = async () => {
    for (;;) {
      const beganMonoMs = performance.now();
      if (beganMonoMs > endMonoMs) return;
      const ok = await askOnce();
      if (ok) latencies.push(performance.now() - beganMonoMs);
      else {
        failed += 1;
        await new Promise((resolve) => setTimeout(resolve, AFTER_FAILURE_MS));
      }
    }
  };
  await Promise.all(Array.from({ length: connections }, askAgainAndAgain));
  const tookS = (performance.now() - startedMonoMs) / 1_000;
  latencies.sort((a, b) => a - b);
  return {
    requests: latencies.length,
    failed,
    perSecond: latencies.length / tookS,
    meanMs: mean(latencies),
    p50Ms: rank(latencies, 0.5),
    p90Ms: rank(latencies, 0.9),
    p99Ms: rank(latencies, 0.99),
    p999Ms: rank(latencies, 0.999),
  };
}

if (import.meta.main) {
  const options = JSON.parse(process.argv[2] ?? "{}") as NewConnectionsOptions; // from our own parent
  process.stdout.write(`${JSON.stringify(await runNewConnections(options))}\n`);
}
