// wrk as the load generator: C, so that it takes little of a small machine. wrk.lua says what it measured.
import { join } from "node:path";
import type { LoadOptions, LoadResult } from "./generate.ts";
import { runProgram } from "./run-program.ts";

const SCRIPT = join(import.meta.dirname, "wrk.lua");

/** Like autocannon's. wrk's own 2 s would count slow answers of a busy machine as errors; those that never come are noticed otherwise. */
const TIMEOUT = "10s";

/** The line that wrk.lua prints; latencies in µs. */
interface Printed {
  readonly requests: number;
  readonly failed: number;
  readonly durationUs: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
}

/** Sends load with wrk in `program`. */
export async function withWrk(program: string, options: LoadOptions): Promise<LoadResult> {
  const headers = [...(options.host === null ? [] : [`Host: ${options.host}`]), ...(options.newConnections ? ["Connection: close"] : [])];
  const words = ["-t", "1", "--timeout", TIMEOUT, "-c", String(options.connections), "-d", `${options.durationS}s`, "-s", SCRIPT];
  const stdout = await runProgram({
    command: program,
    arguments: [...words, ...headers.flatMap((header) => ["-H", header]), options.url],
    env: { ...process.env, BENCH_BODY_BYTES: String(options.bodyBytes ?? 0) },
    durationS: options.durationS,
  });
  const [, line] = /^bench (.*)$/m.exec(stdout) ?? [];
  if (line === undefined) throw new Error(`wrk printed no result: ${stdout}`);
  const { requests, failed, durationUs, mean, p50, p90, p99, p999 } = JSON.parse(line) as Printed; // printed by our own script
  return {
    requests,
    failed,
    perSecond: requests / (durationUs / 1e6),
    meanMs: mean / 1_000,
    p50Ms: p50 / 1_000,
    p90Ms: p90 / 1_000,
    p99Ms: p99 / 1_000,
    p999Ms: p999 / 1_000,
  };
}
