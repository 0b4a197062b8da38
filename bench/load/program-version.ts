// Which version of a program is installed, by asking it.
import { spawnSync } from "node:child_process";
import { findProgram } from "../../test/support/requires.ts";

/** The first group of `pattern` in what the program says, on either stream; null when it is not installed, "unknown" when it says something else. */
export function programVersion(name: string, words: readonly string[], pattern: RegExp): string | null {
  const program = findProgram(name);
  if (program === null) return null;
  const { stdout, stderr } = spawnSync(program, [...words], { encoding: "utf8" });
  return pattern.exec(`${stdout}${stderr}`)?.[1] ?? "unknown";
}
