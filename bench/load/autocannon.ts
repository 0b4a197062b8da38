// autocannon as the load generator, in a process of its own: what every checkout has.
import { join } from "node:path";
import type { LoadOptions, LoadResult } from "./generate.ts";
import { runProgram } from "./run-program.ts";

const AUTOCANNON = join(import.meta.dirname, "..", "..", "node_modules", "autocannon", "autocannon.js");

/** The part of autocannon's JSON that is read; latencies in ms. */
interface Printed {
  readonly requests: { readonly total: number; readonly average: number };
  readonly latency: { readonly average: number; readonly p50: number; readonly p90: number; readonly p99: number; readonly p99_9: number };
  readonly non2xx: number;
  readonly errors: number;
}

/** Sends load with autocannon, over connections that are kept. */
export async function withAutocannon(options: LoadOptions): Promise<LoadResult> {
  const { bodyBytes = 0 } = options;
  const words = ["-j", "-n", "-c", String(options.connections), "-d", String(options.durationS)];
  if (options.host !== null) words.push("-H", `Host=${options.host}`);
  if (bodyBytes > 0) words.push("-m", "POST", "-b", "b".repeat(bodyBytes));
  const stdout = await runProgram({
    command: process.execPath,
    arguments: [AUTOCANNON, ...words, options.url],
    env: process.env,
    durationS: options.durationS,
  });
  const { requests, latency, non2xx, errors } = JSON.parse(stdout) as Printed; // our own child, asked for JSON
  return {
    requests: requests.total,
    failed: non2xx + errors,
    perSecond: requests.average,
    meanMs: latency.average,
    p50Ms: latency.p50,
    p90Ms: latency.p90,
    p99Ms: latency.p99,
    p999Ms: latency.p99_9,
  };
}
