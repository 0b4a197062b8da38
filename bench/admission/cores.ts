// Which core runs what: what is measured has one alone, and the load keeps off it, or the load would be measured too. Does nothing where taskset is missing.
import { spawnSync } from "node:child_process";
import { cpus } from "node:os";
import { findProgram } from "../../test/support/requires.ts";

/** A command and its arguments. */
export interface Command {
  readonly command: string;
  readonly arguments: readonly string[];
}

/** The same command on `core` alone. The process id stays the command's. */
export function onCore(core: number, command: Command): Command {
  const taskset = findProgram("taskset");
  if (taskset === null) return command;
  return { command: taskset, arguments: ["-c", String(core), command.command, ...command.arguments] };
}

/** Takes this process with all its threads, and what they start, off `core`, where there is another. */
export function keepOff(core: number): void {
  const taskset = findProgram("taskset");
  const others = cpus().flatMap((_, index) => (index === core ? [] : [index]));
  if (taskset === null || others.length === 0) return;
  spawnSync(taskset, ["-acp", others.join(","), String(process.pid)]);
}
