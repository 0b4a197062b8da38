// The two processes of `remora run` and their order: the sidecar is ready before the program starts, and has left the mesh and finished what was in
// flight before the program is asked to stop.
import { constants } from "node:os";
import type { Logger } from "../../core/log.ts";
import { type Child, startChild } from "./child.ts";
import { type SidecarProcess, startSidecarProcess } from "./sidecar-process.ts";
import { appEnv, type Workload } from "./workload.ts";

const READY_TIMEOUT_MS = 30_000;
/** How long the program may take to stop before it is killed. */
const STOP_GRACE_MS = 10_000;
const STDERR = 2;
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** Exit code of shells for a command that cannot be run. */
const EXIT_NOT_FOUND = 127;

/** Settings of {@link runBeside}. */
export interface BesideOptions {
  readonly workload: Workload;
  readonly words: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly log: Logger;
  /** How long the sidecar may drain, in ms. */
  readonly drainTimeoutMs: number;
}

/** Thrown out of the start by a signal. */
class InterruptedError extends Error {
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`);
    this.signal = signal;
  }
}

/** Runs both until the program ends or a signal comes. Resolves with the program's exit code. */
export async function runBeside({ workload, words, env, log, drainTimeoutMs }: BesideOptions): Promise<number> {
  const interruption = new AbortController();
  const asked = Promise.withResolvers<NodeJS.Signals>();
  let app: Child | null = null;
  let sidecar: SidecarProcess | null = null;
  const onSignal = (signal: NodeJS.Signals) => {
    if (interruption.signal.aborted) {
      // Asked a second time, nobody waits for draining any more.
      sidecar?.kill();
      app?.signal("SIGKILL");
      return;
    }
    interruption.abort(new InterruptedError(signal));
    asked.resolve(signal);
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    sidecar = await startSidecarProcess({
      workload,
      env,
      // This very program, whether it runs from a checkout or from a bundle.
      program: [...process.execArgv, process.argv[1] ?? ""],
      log,
      readyTimeoutMs: READY_TIMEOUT_MS,
      drainTimeoutMs,
      output: STDERR,
      restart: true,
      signal: interruption.signal,
    });
    app = await startApp(words, appEnv(workload, env));
    const ended = await Promise.race([app.exited, asked.promise]);
    if (typeof ended === "number") return ended;
    await sidecar.close();
    // The program hears the signal that we heard; a terminal's Ctrl-C did not reach it.
    return await app.stop(ended, STOP_GRACE_MS);
  } catch (error) {
    if (error instanceof InterruptedError) return 128 + constants.signals[error.signal];
    if (!(error instanceof CannotRunError)) throw error;
    process.stderr.write(`remora run: ${error.message}\n`);
    return EXIT_NOT_FOUND;
  } finally {
    await sidecar?.close();
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}

/** The program is not there, or is no program. */
class CannotRunError extends Error {}

async function startApp(words: readonly string[], env: NodeJS.ProcessEnv): Promise<Child> {
  const [command = "", ...rest] = words;
  try {
    return await startChild({ command, arguments: rest, env, stdio: "inherit" });
  } catch (cause) {
    throw new CannotRunError(`cannot run ${command}: ${(cause as Error).message}`, { cause });
  }
}
