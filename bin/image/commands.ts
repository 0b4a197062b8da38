// Runs the programs that make and prove the image; a failure becomes an error with what the program said.
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

const LONGEST_MS = 20 * 60_000;

/** How a command is run. */
export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Shows its output as it comes instead of keeping it. */
  readonly show?: boolean;
}

/** What it printed. @throws Error when it fails */
export function run(command: string, words: readonly string[], { cwd, env, show = false }: RunOptions = {}): string {
  const done: SpawnSyncReturns<string> = spawnSync(command, [...words], {
    encoding: "utf8",
    timeout: LONGEST_MS,
    maxBuffer: 256 << 20,
    stdio: ["ignore", show ? 2 : "pipe", show ? 2 : "pipe"],
    ...(cwd === undefined ? {} : { cwd }),
    ...(env === undefined ? {} : { env: { ...process.env, ...env } }),
  });
  if (done.error !== undefined) throw new Error(`${command}: ${done.error.message}`);
  if (done.status !== 0)
    throw new Error(`${command} ${words.join(" ")}: exit ${done.status ?? done.signal}\n${done.stderr ?? ""}`.trimEnd());
  return done.stdout ?? "";
}

/** Names the packages of those programs that are not installed. @throws Error when there are any, or the user is not root */
export function demand(programs: Readonly<Record<string, string>>): void {
  if (process.getuid?.() !== 0) throw new Error("the image is built and proven by root");
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const missing = Object.entries(programs).filter(([program]) => !folders.some((folder) => existsSync(join(folder, program))));
  if (missing.length > 0) throw new Error(`not installed: apt-get install ${[...new Set(missing.map(([, name]) => name))].join(" ")}`);
}
