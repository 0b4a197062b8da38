// Programs that a test runs beside itself: started with a deadline, watched line by line, and killed when the test ends, however it ends, with all their
// children.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { unwatchGroup, watchGroup } from "./group-watch.ts";

const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_KEPT_LINES = 5000;
const CONNECT_RETRY_MS = 20;

/** What of tap's `t` is used. */
export interface Teardown {
  teardown(run: () => unknown): void;
}

/** How a helper program is run. */
export interface ProcessOptions {
  readonly args?: readonly string[];
  /** Replaces the test's environment altogether, apart from PATH. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly uid?: number;
  readonly gid?: number;
  /** The program is killed after this long, whatever it does; default 5 minutes. */
  readonly killAfterMs?: number;
}

/** A running helper program. */
export interface HelperProcess {
  readonly child: ChildProcess;
  readonly pid: number;
  /** What it wrote so far, stdout and stderr mixed, at most 5000 lines. */
  readonly lines: readonly string[];
  /** Resolves with the first line, past or future, that matches; rejects after `timeoutMs` (30 s) or when the program ends first. */
  line(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
  /** Resolves with the exit code, or null when a signal ended it; rejects after `timeoutMs` (30 s). */
  exit(timeoutMs?: number): Promise<number | null>;
  /** Sends a signal to the program alone. */
  signal(name: NodeJS.Signals): void;
  /** Kills the program and its children and waits for the end. Idempotent. */
  kill(): Promise<void>;
}

/** Starts `program` in a process group of its own; `t.teardown` kills the group. */
export function startProcess(t: Teardown, program: string, options: ProcessOptions = {}): HelperProcess {
  const { args = [], env, cwd, uid, gid, killAfterMs = 300_000 } = options;
  const child = spawn(program, [...args], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: env === undefined ? process.env : { PATH: process.env["PATH"], ...env },
    ...(cwd === undefined ? {} : { cwd }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  });
  if (child.pid !== undefined) watchGroup(child.pid);
  const lines: string[] = [];
  const watchers = new Set<(line: string) => void>();
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      // What it left behind is watched on: the number stays its group's.
      if (child.pid !== undefined && !groupLives(child.pid)) unwatchGroup(child.pid);
      resolve(code);
    });
  });
  ended.catch(() => undefined); // reported by whoever waits

  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    createInterface({ input: stream }).on("line", (line) => {
      if (lines.length < MAX_KEPT_LINES) lines.push(line);
      for (const watcher of watchers) watcher(line);
    });
  }
  const fuse = setTimeout(() => killGroup(child), killAfterMs).unref();

  async function kill(): Promise<void> {
    clearTimeout(fuse);
    killGroup(child);
    await ended.catch(() => undefined);
    if (child.pid !== undefined) unwatchGroup(child.pid);
  }
  t.teardown(kill);

  function line(pattern: RegExp, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<RegExpExecArray> {
    for (const past of lines) {
      const match = pattern.exec(past);
      if (match !== null) return Promise.resolve(match);
    }
    const tail = () => lines.slice(-20).join("\n");
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        watchers.delete(watcher);
      };
      const watcher = (text: string) => {
        const match = pattern.exec(text);
        if (match === null) return;
        settle();
        resolve(match);
      };
      const fail = (why: string) => {
        settle();
        reject(new Error(`${program}: ${why} before a line matched ${pattern}; it wrote:\n${tail()}`));
      };
      const timer = setTimeout(() => fail(`${timeoutMs} ms passed`), timeoutMs);
      watchers.add(watcher);
      ended.then(
        (code) => fail(`ended with ${code}`),
        (error: Error) => fail(error.message),
      );
    });
  }

  return {
    child,
    get pid() {
      return child.pid ?? -1;
    },
    lines,
    line,
    exit: (timeoutMs = DEFAULT_TIMEOUT_MS) => withDeadline(ended, timeoutMs, `${program} did not end`),
    signal: (name) => void child.kill(name),
    kill,
  };
}

/** Resolves once something accepts connections on `host:port`; rejects after `timeoutMs` (30 s). */
export async function waitForPort(port: number, host = "127.0.0.1", timeoutMs = DEFAULT_TIMEOUT_MS): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  for (;;) {
    const socket = connect(port, host);
    try {
      await once(socket, "connect");
      return;
    } catch (error) {
      if (performance.now() > giveUpAt)
        throw new Error(`nothing accepts connections on ${host}:${port} after ${timeoutMs} ms`, { cause: error });
      await new Promise((resolve) => setTimeout(resolve, CONNECT_RETRY_MS));
    } finally {
      socket.destroy();
    }
  }
}

function groupLives(group: number): boolean {
  try {
    process.kill(-group, 0);
    return true;
  } catch {
    return false;
  }
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // the group has ended
  }
}

async function withDeadline<T>(work: Promise<T>, timeoutMs: number, message: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${message} within ${timeoutMs} ms`)), timeoutMs);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
