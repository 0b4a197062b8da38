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

/** Runs both until the program ends or a signal comes. Resolves with the program's exit code. */
export async function runBeside({ workload, words, env, log, drainTimeoutMs }: BesideOptions): Promise<number> {
  const asked = Promise.withResolvers<NodeJS.Signals>();
  let signals = 0;
  let app: Child | null = null;
  let sidecar: SidecarProcess | null = null;
  const onSignal = (signal: NodeJS.Signals) => {
    signals += 1;
    asked.resolve(signal);
    // Asked a second time, nobody waits for draining any more.
    if (signals > 1) sidecar?.kill();
    if (signals > 1) app?.signal("SIGKILL");
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    // This very program, whether it runs from a checkout or from a bundle.
    const program = [...process.execArgv, process.argv[1] ?? ""];
    sidecar = await startSidecarProcess({
      workload,
      env,
      program,
      log,
      readyTimeoutMs: READY_TIMEOUT_MS,
      drainTimeoutMs,
      output: STDERR,
      restart: true,
    });
    if (signals > 0) return 128 + constants.signals[await asked.promise];
    const [command = "", ...rest] = words;
    app = await startChild({ command, arguments: rest, env: appEnv(workload, env), stdio: "inherit" });
    const ended = await Promise.race([app.exited, asked.promise]);
    if (typeof ended === "number") return ended;
    await sidecar.close();
    // The program hears the signal that we heard; a terminal's Ctrl-C did not reach it.
    return await app.stop(ended, STOP_GRACE_MS);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" && (error as NodeJS.ErrnoException).code !== "EACCES") throw error;
    process.stderr.write(`remora run: cannot run ${words[0]}: ${(error as Error).message}\n`);
    return EXIT_NOT_FOUND;
  } finally {
    await sidecar?.close();
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}
