// The sidecar as a supervised child: started, waited for, started again with a growing pause when it dies, told to drain at the end. It keeps its
// ports, its instance id and its state folder across restarts, so a restarted sidecar renews with the certificate it has.
import type { Logger } from "../../core/log.ts";
import { waitUntilReady } from "../wait-until-ready.ts";
import { type Child, startChild } from "./child.ts";
import { sidecarEnv, type Workload } from "./workload.ts";

const FIRST_RESTART_PAUSE_MS = 250;
const LONGEST_RESTART_PAUSE_MS = 10_000;
/** A sidecar that lived this long starts again with the shortest pause. */
const STEADY_AFTER_MS = 30_000;
/** Beyond its own drain timeout, before it is killed. */
const DRAIN_SLACK_MS = 2_000;

/** Settings of {@link startSidecarProcess}. */
export interface SidecarProcessOptions {
  readonly workload: Workload;
  readonly env: NodeJS.ProcessEnv;
  /** The `remora` command: what Node is given before `sidecar`. */
  readonly program: readonly string[];
  readonly log: Logger;
  /** How long the first start may take, in ms. */
  readonly readyTimeoutMs: number;
  /** How long it may drain, in ms. */
  readonly drainTimeoutMs: number;
  /** File descriptor or "ignore" for its log. */
  readonly output: number | "ignore";
  /** False: let it lie when it dies (the demo kills one on purpose). */
  readonly restart: boolean;
  /** Ends the wait for the first start, and the sidecar with it; the promise is then rejected with its reason. */
  readonly signal?: AbortSignal;
  /** Told of every process that is started. */
  readonly onStart?: (child: Child) => void;
}

/** A sidecar that is kept running. */
export interface SidecarProcess {
  /** The current process; it changes at a restart. */
  pid(): number;
  /** Sends SIGKILL, as the end of the world would. */
  kill(): void;
  /** Drains it: it leaves the registry, finishes what is in flight, and exits. */
  close(): Promise<void>;
}

/** Thrown when the sidecar ends before it was ever ready. */
export class SidecarStartError extends Error {
  readonly code = "sidecar_start_failed";
}

/** Starts the sidecar and waits until it is ready. @throws SidecarStartError, NotReadyError */
export async function startSidecarProcess(options: SidecarProcessOptions): Promise<SidecarProcess> {
  const { workload, env, program, log, readyTimeoutMs, drainTimeoutMs, output, restart } = options;
  let closing = false;
  let pauseMs = FIRST_RESTART_PAUSE_MS;
  let wake: NodeJS.Timeout | null = null;
  let current = await start();

  await waitForFirstStart();
  void watch(current);
  return {
    pid: () => current.pid,
    kill: () => void current.signal("SIGKILL"),
    async close() {
      closing = true;
      if (wake !== null) clearTimeout(wake);
      await current.stop("SIGTERM", drainTimeoutMs + DRAIN_SLACK_MS);
    },
  };

  async function start(): Promise<Child> {
    // The IPC channel carries nothing: its end tells the sidecar that we are gone, even by SIGKILL.
    const child = await startChild({
      command: process.execPath,
      arguments: [...program, "sidecar"],
      env: sidecarEnv(workload, env),
      stdio: ["ignore", output, output, "ipc"],
    });
    options.onStart?.(child);
    return child;
  }

  async function waitForFirstStart(): Promise<void> {
    const given = new AbortController();
    void current.exited.then((code) => given.abort(new SidecarStartError(`the sidecar ended with code ${code} before it was ready`)));
    const signal = options.signal === undefined ? given.signal : AbortSignal.any([given.signal, options.signal]);
    try {
      await waitUntilReady({ host: workload.address, port: workload.adminPort, timeoutMs: readyTimeoutMs, signal });
    } catch (error) {
      await current.stop("SIGTERM", DRAIN_SLACK_MS);
      throw error;
    }
  }

  async function watch(child: Child): Promise<void> {
    const startedMonoMs = performance.now();
    const code = await child.exited;
    if (closing || !restart) return;
    if (performance.now() - startedMonoMs > STEADY_AFTER_MS) pauseMs = FIRST_RESTART_PAUSE_MS;
    log.warn({ code, pauseMs }, "sidecar ended, starting it again");
    pauseBeforeStart();
  }

  async function startAgain(): Promise<void> {
    if (closing) return;
    try {
      current = await start();
    } catch (err) {
      log.error({ err }, "the sidecar could not be started");
      if (!closing) pauseBeforeStart();
      return;
    }
    // Closing may have begun meanwhile, and has stopped the one before.
    if (closing) await current.stop("SIGTERM", drainTimeoutMs + DRAIN_SLACK_MS);
    else void watch(current);
  }

  function pauseBeforeStart(): void {
    wake = setTimeout(() => void startAgain(), pauseMs);
    pauseMs = Math.min(pauseMs * 2, LONGEST_RESTART_PAUSE_MS);
  }
}
