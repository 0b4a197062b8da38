// The benchmark as a program, for tests: where nothing but what it needs is installed.
import { symlinkSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Test } from "tap";
import { type HelperProcess, startProcess } from "../support/processes.ts";
import { findProgram } from "../support/requires.ts";

const BENCH = join(import.meta.dirname, "..", "..", "bench", "main.ts");
/** What the bundle's launcher and the benchmark call, where it is; not wrk, so that every checkout runs the same. */
const PROGRAMS = ["nginx", "readlink", "dirname", "sh", "setpriv"];

/** How long one may take on a busy machine. */
export const BENCH_TIMEOUT_MS = 150_000;

/** Starts the benchmark where nothing else is installed but what `further` names, with all it writes in `folder`. */
export async function startBench(
  t: Test,
  folder: string,
  words: readonly string[],
  further: readonly string[] = [],
): Promise<HelperProcess> {
  const programs = join(folder, "programs");
  await mkdir(programs);
  for (const name of [...PROGRAMS, ...further]) {
    const program = findProgram(name);
    if (program !== null) symlinkSync(program, join(programs, name));
  }
  symlinkSync(process.execPath, join(programs, "node"));
  const env = { PATH: programs, HOME: folder, TMPDIR: folder };
  return startProcess(t, process.execPath, { args: [BENCH, "--svg", join(folder, "chart.svg"), ...words], env });
}
