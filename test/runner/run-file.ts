// Runs one test file as a process of its own and reads what it says in the end. Whatever the process leaves behind in its group ends with it.
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { REPOSITORY } from "./suites.ts";

/** A file that is told to end says what it waits for, and is killed after this long. */
const LAST_WORDS_MS = 5_000;
/** How long to wait for output that somebody outside of the group may still hold open. */
const CLOSE_GRACE_MS = 1_000;
const MAX_OUTPUT_CHARS = 64 * 1024 * 1024;
/** The one of cli/main.ts: the programs that tests start are mostly that. */
const COMPILE_CACHE = join(REPOSITORY, "node_modules/.cache/remora");

/** Assertions by how they ended. */
export interface Totals {
  readonly pass: number;
  readonly fail: number;
  readonly skip: number;
  readonly todo: number;
}

/** What became of a file. */
export interface FileResult {
  readonly file: string;
  readonly tookMs: number;
  /** Everything it wrote, standard output and standard error as they came. */
  readonly output: string;
  /** Null when it ended before it could count. */
  readonly totals: Totals | null;
  /** Why it failed; null when all is well. */
  readonly failure: string | null;
}

/** A running file. */
export interface RunningFile {
  readonly result: Promise<FileResult>;
  /** Kills it with its group. */
  kill(): void;
}

/** Starts `file`; {@link FileResult.failure} says so when it takes longer than `deadlineMs`. */
export function runFile(file: string, deadlineMs: number): RunningFile {
  const startedMonoMs = performance.now();
  const child = spawn(process.execPath, [file], {
    cwd: REPOSITORY,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, TAP: "1", TAP_TIMEOUT: String(deadlineMs / 1000), NODE_COMPILE_CACHE: COMPILE_CACHE },
  });
  let output = "";
  let isLate = false;
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (more: string) => {
      output = (output + more).slice(0, MAX_OUTPUT_CHARS);
    });

  const result = new Promise<FileResult>((resolve) => {
    const timers = [
      setTimeout(() => {
        isLate = true;
        signalGroup(child, "SIGTERM");
      }, deadlineMs),
      setTimeout(() => signalGroup(child, "SIGKILL"), deadlineMs + LAST_WORDS_MS),
    ];
    const settle = (ending: string | null) => {
      for (const timer of timers) clearTimeout(timer);
      const totals = readTotals(output);
      const failure = isLate ? `it took longer than ${deadlineMs} ms` : (ending ?? failureIn(totals));
      resolve({ file, tookMs: performance.now() - startedMonoMs, output, totals, failure });
    };
    child.once("error", (error) => settle(error.message));
    child.once("exit", (code, signal) => {
      signalGroup(child, "SIGKILL");
      const ending = code === 0 ? null : `it ended with ${signal ?? code}`;
      const impatience = setTimeout(() => settle(ending), CLOSE_GRACE_MS);
      child.once("close", () => {
        clearTimeout(impatience);
        settle(ending);
      });
    });
  });
  return { result, kill: () => signalGroup(child, "SIGKILL") };
}

/** The last line of the form `# { total: 9, pass: 7, fail: 1, skip: 1 }`, as tap ends a file with. */
export function readTotals(output: string): Totals | null {
  const line = output.match(/^# \{ total: .*\}$/gm)?.at(-1);
  if (line === undefined) return null;
  const number = (name: string) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(line)?.[1] ?? 0);
  return { pass: number("pass"), fail: number("fail"), skip: number("skip"), todo: number("todo") };
}

function failureIn(totals: Totals | null): string | null {
  if (totals === null) return "it ended without its totals";
  if (totals.fail > 0) return `${totals.fail} failed`;
  return totals.pass + totals.skip + totals.todo === 0 ? "it has no tests" : null;
}

function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // the group has ended
  }
}
