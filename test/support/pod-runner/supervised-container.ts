// One container of a pod over all its processes: start and postStart, startup probe, readiness and liveness, restarts with backoff, and its end with
// preStop, SIGTERM and grace. Owns the container's state; the order among containers is pod.ts.
import type { ContainerProcess, ExitStatus } from "./container.ts";
import type { ContainerLog } from "./container-log.ts";
import type { Container } from "./pod-spec.ts";
import { attempt, type ProbeTarget, pause, runProbe } from "./probes.ts";

const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 5_000;
const HOOK_TIMEOUT_MS = 30_000;

/** What may happen to a container. */
export type ContainerEventKind =
  | "started"
  | "completed"
  | "startup_ok"
  | "ready"
  | "unready"
  | "post_start"
  | "pre_stop"
  | "terminating"
  | "killed"
  | "exited"
  | "restarting";

export interface SupervisedContainer {
  readonly container: Container;
  readonly log: ContainerLog;
  isReady(): boolean;
  restarts(): number;
  /** The running process. @throws Error when there is none */
  process(): ContainerProcess;
  /** Starts the process; resolves when its postStart hook is through. @throws Error when the hook fails */
  start(): Promise<void>;
  /** Resolves when the startup probe has passed; readiness and liveness then go on by themselves. @throws Error when it does not pass */
  watch(): Promise<void>;
  /** Runs the process to its end, without probes and restarts. */
  runToCompletion(): Promise<ExitStatus>;
  /** preStop, SIGTERM, and SIGKILL at the deadline (epoch ms). */
  terminate(deadlineMs: number): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Ends probes and keeps the log in memory. */
  close(): void;
}

export interface Supervision {
  /** The pod's address, for probes. */
  readonly address: string;
  readonly restart: "always" | "on_failure" | "never";
  readonly log: ContainerLog;
  readonly spawn: () => ContainerProcess;
  readonly note: (what: ContainerEventKind, detail: string) => void;
  /** Aborted when the pod stops: nothing is restarted any more. */
  readonly stopping: AbortSignal;
}

export function createSupervisedContainer(container: Container, supervision: Supervision): SupervisedContainer {
  const { log, note, stopping } = supervision;
  let current: ContainerProcess | null = null;
  /** Aborted when the current process ends; its probes end with it. */
  let life = new AbortController();
  let isReady = false;
  let restarts = 0;

  function process(): ContainerProcess {
    if (current === null) throw new Error(`container ${container.name} is not running`);
    return current;
  }

  function target(): ProbeTarget {
    return { container, process: process(), address: supervision.address };
  }

  function setReady(ready: boolean, why: string): void {
    if (isReady === ready) return;
    isReady = ready;
    note(ready ? "ready" : "unready", why);
  }

  function spawn(): ContainerProcess {
    current = supervision.spawn();
    life = new AbortController();
    note("started", `pid ${current.pid}`);
    return current;
  }

  async function start(): Promise<void> {
    const started = spawn();
    const { signal } = life;
    void started.exited.then(onExit);
    const hook = container.lifecycle?.postStart;
    if (hook === undefined) return;
    const why = await Promise.race([attempt(hook, target(), HOOK_TIMEOUT_MS), started.exited.then(() => "the container ended")]);
    note("post_start", why ?? "ok");
    if (why !== null && !signal.aborted) throw new Error(`postStart of ${container.name}: ${why}`);
  }

  function onExit(status: ExitStatus): void {
    life.abort();
    current = null;
    setReady(false, "exited");
    note("exited", formatExit(status));
    const mayRestart = supervision.restart === "always" || (supervision.restart === "on_failure" && status.code !== 0);
    if (mayRestart && !stopping.aborted) void restart();
  }

  async function restart(): Promise<void> {
    const delayMs = Math.min(FIRST_BACKOFF_MS * 2 ** restarts, MAX_BACKOFF_MS);
    restarts += 1;
    note("restarting", `after ${delayMs} ms`);
    await pause(delayMs, stopping);
    if (stopping.aborted) return;
    try {
      await start();
      await watch();
    } catch (error) {
      log.append(`pod runner: ${(error as Error).message}\n`);
      current?.signal("SIGTERM");
    }
  }

  async function watch(): Promise<void> {
    const { signal } = life;
    await passStartup(signal);
    if (signal.aborted) return;
    watchReadiness(signal);
    watchLiveness(signal);
  }

  function passStartup(signal: AbortSignal): Promise<void> {
    const probe = container.startupProbe;
    if (probe === undefined) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const over = new AbortController();
      const finish = (run: () => void) => {
        over.abort();
        run();
      };
      signal.addEventListener("abort", () => finish(resolve));
      const onSuccess = () => {
        note("startup_ok", "");
        finish(resolve);
      };
      const onFailure = (failures: number, why: string) => {
        if (failures >= (probe.failureThreshold ?? 3)) finish(() => reject(new Error(`startup probe of ${container.name} failed: ${why}`)));
      };
      void runProbe(probe, target(), { onSuccess, onFailure }, over.signal);
    });
  }

  function watchReadiness(signal: AbortSignal): void {
    const probe = container.readinessProbe;
    if (probe === undefined) return setReady(true, "");
    const onFailure = (failures: number, why: string) => {
      if (failures >= (probe.failureThreshold ?? 3)) setReady(false, why);
    };
    void runProbe(probe, target(), { onSuccess: () => setReady(true, ""), onFailure }, signal);
  }

  function watchLiveness(signal: AbortSignal): void {
    const probe = container.livenessProbe;
    if (probe === undefined) return;
    const onFailure = (failures: number, why: string) => {
      if (failures < (probe.failureThreshold ?? 3)) return;
      log.append(`pod runner: liveness probe failed: ${why}\n`);
      current?.signal("SIGTERM");
    };
    void runProbe(probe, target(), { onSuccess: () => {}, onFailure }, signal);
  }

  return {
    container,
    log,
    isReady: () => isReady,
    restarts: () => restarts,
    process,
    start,
    watch,
    async runToCompletion() {
      const status = await spawn().exited;
      current = null;
      note("completed", formatExit(status));
      return status;
    },
    async terminate(deadlineMs) {
      const running = current;
      if (running === null) return;
      const { preStop } = container.lifecycle ?? {};
      if (preStop !== undefined) note("pre_stop", (await attempt(preStop, target(), Math.max(1, deadlineMs - Date.now()))) ?? "ok");
      note("terminating", "");
      running.signal("SIGTERM");
      await pause(deadlineMs - Date.now(), life.signal);
      if (!running.isRunning()) return;
      note("killed", "grace period over");
      running.signal("SIGKILL");
      await running.exited;
    },
    async kill() {
      current?.signal("SIGKILL");
      await current?.exited;
    },
    close() {
      life.abort();
      log.close();
    },
  };
}

/** As `kubectl describe` would say it. */
export function formatExit({ code, signal }: ExitStatus): string {
  return signal ?? `exit status ${code}`;
}
