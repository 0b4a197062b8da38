// The processes that a benchmark started, so that none outlives it: ended in reverse order, and killed with whatever ends the benchmark itself.
import { type Child, type ChildOptions, startChild } from "../../cli/run/child.ts";
import { findProgram } from "../../test/support/requires.ts";

const STOP_GRACE_MS = 3_000;

/** Starts a process that will be ended with the others. */
export type StartProcess = (options: ChildOptions) => Promise<Child>;

/** Processes that end together. */
export interface Processes {
  readonly start: StartProcess;
  /** Asks each to end, the last one first, and kills it when it does not. */
  close(): Promise<void>;
}

/** Makes an empty group. */
export function createProcesses(): Processes {
  const children: Child[] = [];
  const killAll = () => {
    for (const child of children) child.signal("SIGKILL");
  };
  process.prependListener("exit", killAll); // before anybody clears their folders
  return {
    async start(options) {
      const child = await startChild(dyingWithUs(options));
      children.push(child);
      return child;
    },
    async close() {
      for (let child = children.pop(); child !== undefined; child = children.pop()) await child.stop("SIGTERM", STOP_GRACE_MS);
      process.off("exit", killAll);
    },
  };
}

/** Where util-linux is: the kernel kills the child when this process is killed, which cannot do it then. The process id stays the command's. */
function dyingWithUs(options: ChildOptions): ChildOptions {
  const setpriv = findProgram("setpriv");
  if (setpriv === null) return options;
  return { ...options, command: setpriv, arguments: ["--pdeathsig", "KILL", options.command, ...options.arguments] };
}
