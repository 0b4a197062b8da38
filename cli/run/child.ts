// A child process in a process group of its own, so that Ctrl-C in the terminal does not reach it before its turn in the shutdown order, and so
// that what it started goes down with it.
import { spawn, type StdioOptions } from "node:child_process";
import { constants } from "node:os";

/** What to start. */
export interface ChildOptions {
  readonly command: string;
  readonly arguments: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly stdio: StdioOptions;
}

/** A started process. */
export interface Child {
  readonly pid: number;
  /** Settles when the process is gone: its exit code, or 128 + the number of the signal that ended it. Never rejects. */
  readonly exited: Promise<number>;
  /** Null while it runs. */
  exitCode(): number | null;
  /** Sends `signal` to its group, and SIGKILL when it is still there after `graceMs`. Resolves with the exit code. */
  stop(signal: NodeJS.Signals, graceMs: number): Promise<number>;
  /** Sends a signal to its group; false when it is gone. */
  signal(signal: NodeJS.Signals): boolean;
}

/** Starts a process. Rejects with the system's error when the command cannot be run. */
export function startChild({ command, arguments: words, env, cwd, stdio }: ChildOptions): Promise<Child> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...words], { env, stdio, detached: true, ...(cwd === undefined ? {} : { cwd }) });
    let code: number | null = null;
    const exited = new Promise<number>((done) => {
      child.once("exit", (exitCode, signal) => {
        code = exitCode ?? 128 + (signal === null ? 0 : constants.signals[signal]);
        done(code);
      });
    });
    const signalGroup = (signal: NodeJS.Signals): boolean => {
      if (code !== null || child.pid === undefined) return false;
      try {
        return process.kill(-child.pid, signal);
      } catch {
        return false; // gone between the exit and our hearing of it
      }
    };
    child.once("error", reject);
    child.once("spawn", () => {
      resolve({
        pid: child.pid as number, // set once "spawn" was emitted
        exited,
        exitCode: () => code,
        signal: signalGroup,
        async stop(signal, graceMs) {
          signalGroup(signal);
          const killer = setTimeout(() => signalGroup("SIGKILL"), graceMs);
          try {
            return await exited;
          } finally {
            clearTimeout(killer);
          }
        },
      });
    });
  });
}
