// h2load as the load generator, speaking HTTP/1.1 or, for gRPC, HTTP/2. It prints no percentiles, so they are taken from its log of every request.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LoadOptions, LoadResult } from "./generate.ts";
import { mean, rank } from "./rank.ts";
import { runProgram } from "./run-program.ts";

/** Sends load with h2load in `program`. It keeps its connections, so it cannot open one for each request. */
export async function withH2load(program: string, options: LoadOptions): Promise<LoadResult> {
  const { bodyBytes = 0 } = options;
  const { result } = await runH2load(program, { ...options, words: ["--h1"], body: bodyBytes > 0 ? "b".repeat(bodyBytes) : null });
  return result;
}

/** Runs h2load with further `words`, POSTing `body` unless that is null. Also gives what it printed. */
export async function runH2load(
  program: string,
  options: Pick<LoadOptions, "url" | "host" | "connections" | "durationS"> & {
    readonly words: readonly string[];
    readonly body: string | Buffer | null;
  },
): Promise<{ readonly result: LoadResult; readonly printed: string }> {
  const { url, host, connections, durationS, body } = options;
  const folder = await mkdtemp(join(tmpdir(), "remora-h2load-"));
  try {
    const log = join(folder, "log");
    const words = [...options.words, "-t", "1", "-c", String(connections), "-D", String(durationS), `--log-file=${log}`];
    if (host !== null) words.push("-H", `:authority: ${host}`); // what it sends as Host; a header of that name would be a second one
    if (body !== null) {
      await writeFile(join(folder, "body"), body);
      words.push("-d", join(folder, "body"));
    }
    const printed = await runProgram({ command: program, arguments: [...words, url], env: process.env, durationS });
    return { result: summarize(await readFile(log, "utf8"), durationS), printed };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Each line: when the request began (µs), its status, how long it took (µs). The status is -1 for one that failed. */
function summarize(log: string, durationS: number): LoadResult {
  const latenciesMs: number[] = [];
  let failed = 0;
  for (const line of log.split("\n")) {
    if (line === "") continue;
    const [, status = "", tookUs = ""] = line.split("\t");
    if (/^2\d\d$/.test(status)) latenciesMs.push(Number(tookUs) / 1_000);
    else failed += 1;
  }
  latenciesMs.sort((a, b) => a - b);
  return {
    requests: latenciesMs.length,
    failed,
    perSecond: latenciesMs.length / durationS,
    meanMs: mean(latenciesMs),
    p50Ms: rank(latenciesMs, 0.5),
    p90Ms: rank(latenciesMs, 0.9),
    p99Ms: rank(latenciesMs, 0.99),
    p999Ms: rank(latenciesMs, 0.999),
  };
}
