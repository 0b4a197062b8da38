// The life of one pod, as a kubelet leads it: init containers in order, native sidecars among them with their startup probe, then the containers;
// probes; restarts; and the end: preStop, SIGTERM, grace, native sidecars last and in reverse order. Owns the order of things and the event list.
import type { ContainerLog, ContainerProcess, ExecOptions, ExecResult, ExitStatus } from "./container.ts";
import type { Container, Pod, PodFacts } from "./pod-spec.ts";
import { attempt, type ProbeTarget, pause, runProbe } from "./probes.ts";

const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 5_000;
const HOOK_TIMEOUT_MS = 30_000;

/** Something that happened, in order. */
export interface PodEvent {
  readonly atMs: number;
  readonly container: string;
  readonly what:
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
  readonly detail: string;
}

export interface RunningPod {
  readonly name: string;
  readonly facts: PodFacts;
  readonly events: readonly PodEvent[];
  /** True while every container with a readiness probe passes it and every other one runs. */
  isReady(): boolean;
  /** Resolves when the pod is ready. @throws Error with every container's log when it is not within `timeoutMs` (default 15000) */
  ready(timeoutMs?: number): Promise<void>;
  log(container: string): string;
  /** All logs, headed by container names: for a test that fails. */
  logs(): string;
  restarts(container: string): number;
  pid(container: string): number;
  /** Runs a command in a container, as the container's user. */
  exec(container: string, argv: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  /** Sends a signal to a container's main process; the pod's restart rule then applies. */
  signal(container: string, signal: NodeJS.Signals): void;
  refreshTokens(): Promise<void>;
  /** Terminates as a kubelet does, then removes everything. Default grace: the pod's own. Idempotent. */
  stop(graceMs?: number): Promise<void>;
  /** SIGKILL to every container at once, as a node that loses power; then removes everything. */
  kill(): Promise<void>;
}

/** What the pod needs from outside. */
export interface PodSurroundings {
  readonly openLog: (container: Container) => ContainerLog;
  readonly start: (container: Container, log: ContainerLog) => ContainerProcess;
  readonly refreshTokens: () => Promise<void>;
  /** Removes namespace, volumes and files. */
  readonly remove: () => void;
}

interface Slot {
  readonly container: Container;
  readonly isSidecar: boolean;
  readonly log: ContainerLog;
  process: ContainerProcess | null;
  /** Aborted when this process of the container ends or the pod stops; its probes end with it. */
  life: AbortController;
  isReady: boolean;
  restarts: number;
}

/** Runs the pod up to the point where all its containers have started. @throws Error with logs when an init container or a startup probe fails */
export async function runPod(pod: Pod, facts: PodFacts, surroundings: PodSurroundings): Promise<RunningPod> {
  const events: PodEvent[] = [];
  const slots: Slot[] = [];
  const name = pod.metadata.name;
  let stopping: Promise<void> | null = null;
  const address = facts.podIps[0] ?? "";
  const restartPolicy = pod.spec.restartPolicy ?? "Always";

  const note = (slot: Slot, what: PodEvent["what"], detail = "") => {
    events.push({ atMs: Date.now(), container: slot.container.name, what, detail });
  };
  const targetOf = (slot: Slot): ProbeTarget => ({ container: slot.container, process: running(slot), address });
  const running = (slot: Slot): ContainerProcess => {
    if (slot.process === null) throw new Error(`pod ${name}: container ${slot.container.name} is not running`);
    return slot.process;
  };
  const slotOf = (containerName: string): Slot => {
    const slot = slots.find((candidate) => candidate.container.name === containerName);
    if (slot === undefined) throw new Error(`pod ${name} has no container ${containerName}`);
    return slot;
  };
  const logs = () => slots.map((slot) => `--- ${name}/${slot.container.name}\n${slot.log.text()}`).join("\n");

  const addSlot = (container: Container, isSidecar: boolean): Slot => {
    const slot: Slot = {
      container,
      isSidecar,
      log: surroundings.openLog(container),
      process: null,
      life: new AbortController(),
      isReady: false,
      restarts: 0,
    };
    slots.push(slot);
    return slot;
  };

  const setReady = (slot: Slot, isReady: boolean, why = "") => {
    if (slot.isReady === isReady) return;
    slot.isReady = isReady;
    note(slot, isReady ? "ready" : "unready", why);
  };

  /** Starts the process and its postStart hook; Kubernetes starts the next container only after the hook. */
  const launch = async (slot: Slot): Promise<void> => {
    const process = surroundings.start(slot.container, slot.log);
    slot.process = process;
    slot.life = new AbortController();
    note(slot, "started", `pid ${process.pid}`);
    const { signal } = slot.life;
    void process.exited.then((status) => onExit(slot, status));
    const hook = slot.container.lifecycle?.postStart;
    if (hook === undefined) return;
    const why = await Promise.race([attempt(hook, targetOf(slot), HOOK_TIMEOUT_MS), process.exited.then(() => "the container ended")]);
    note(slot, "post_start", why ?? "ok");
    if (why !== null && !signal.aborted) throw new Error(`pod ${name}: postStart of ${slot.container.name}: ${why}\n${logs()}`);
  };

  /** Resolves when the startup probe has passed; then readiness and liveness go on in the background. */
  const watch = async (slot: Slot): Promise<void> => {
    const { signal } = slot.life;
    await passStartup(slot, signal);
    if (signal.aborted) return;
    const { readinessProbe, livenessProbe } = slot.container;
    if (readinessProbe === undefined) setReady(slot, true);
    else {
      const onFailure = (failures: number, why: string) => {
        if (failures >= (readinessProbe.failureThreshold ?? 3)) setReady(slot, false, why);
      };
      void runProbe(readinessProbe, targetOf(slot), { onSuccess: () => setReady(slot, true), onFailure }, signal);
    }
    if (livenessProbe === undefined) return;
    const onFailure = (failures: number, why: string) => {
      if (failures < (livenessProbe.failureThreshold ?? 3)) return;
      slot.log.append(`pod runner: liveness probe failed: ${why}\n`);
      running(slot).signal("SIGTERM");
    };
    void runProbe(livenessProbe, targetOf(slot), { onSuccess: () => {}, onFailure }, signal);
  };

  const passStartup = (slot: Slot, signal: AbortSignal): Promise<void> => {
    const probe = slot.container.startupProbe;
    if (probe === undefined) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const over = new AbortController();
      const finish = (run: () => void) => {
        over.abort();
        run();
      };
      signal.addEventListener("abort", () => finish(resolve));
      const onSuccess = () => {
        note(slot, "startup_ok");
        finish(resolve);
      };
      const onFailure = (failures: number, why: string) => {
        if (failures < (probe.failureThreshold ?? 3)) return;
        finish(() => reject(new Error(`pod ${name}: startup probe of ${slot.container.name} failed: ${why}\n${logs()}`)));
      };
      void runProbe(probe, targetOf(slot), { onSuccess, onFailure }, over.signal);
    });
  };

  const onExit = (slot: Slot, status: ExitStatus) => {
    slot.life.abort();
    slot.process = null;
    setReady(slot, false, "exited");
    note(slot, "exited", status.signal ?? `exit status ${status.code}`);
    if (stopping !== null || !slots.includes(slot)) return;
    const mayRestart = slot.isSidecar || restartPolicy === "Always" || (restartPolicy === "OnFailure" && status.code !== 0);
    if (mayRestart) void restart(slot);
  };

  const restart = async (slot: Slot): Promise<void> => {
    const delayMs = Math.min(FIRST_BACKOFF_MS * 2 ** slot.restarts, MAX_BACKOFF_MS);
    slot.restarts += 1;
    note(slot, "restarting", `after ${delayMs} ms`);
    await pause(delayMs, stopSignal.signal);
    if (stopping !== null) return;
    try {
      await launch(slot);
      await watch(slot);
    } catch (error) {
      slot.log.append(`pod runner: ${(error as Error).message.split("\n", 1)[0]}\n`);
      slot.process?.signal("SIGTERM");
    }
  };

  const runToCompletion = async (container: Container): Promise<void> => {
    const log = surroundings.openLog(container);
    const slot: Slot = { container, isSidecar: false, log, process: null, life: new AbortController(), isReady: true, restarts: 0 };
    initSlots.push(slot);
    const process = surroundings.start(container, log);
    slot.process = process;
    note(slot, "started", `pid ${process.pid}`);
    const status = await process.exited;
    slot.process = null;
    note(slot, "completed", status.signal ?? `exit status ${status.code}`);
    if (status.code !== 0) {
      throw new Error(
        `pod ${name}: init container ${container.name} failed (${status.signal ?? `exit status ${status.code}`}):\n${log.text()}\n${logs()}`,
      );
    }
  };

  const initSlots: Slot[] = [];
  const stopSignal = new AbortController();

  const terminate = async (slot: Slot, deadlineMs: number): Promise<void> => {
    const process = slot.process;
    if (process === null) return;
    const preStop = slot.container.lifecycle?.preStop;
    if (preStop !== undefined) {
      const why = await attempt(preStop, targetOf(slot), Math.max(1, deadlineMs - Date.now()));
      note(slot, "pre_stop", why ?? "ok");
    }
    note(slot, "terminating");
    process.signal("SIGTERM");
    const isGone = await Promise.race([
      process.exited.then(() => true),
      pause(Math.max(0, deadlineMs - Date.now()), new AbortController().signal),
    ]);
    if (isGone === true) return;
    note(slot, "killed", "grace period over");
    process.signal("SIGKILL");
    await process.exited;
  };

  const stop = async (graceMs: number): Promise<void> => {
    stopSignal.abort();
    const deadlineMs = Date.now() + graceMs;
    try {
      for (const slot of initSlots) slot.process?.signal("SIGKILL");
      await Promise.all(slots.filter((slot) => !slot.isSidecar).map((slot) => terminate(slot, deadlineMs)));
      for (const slot of slots.filter((candidate) => candidate.isSidecar).reverse()) await terminate(slot, deadlineMs);
    } finally {
      cleanUp();
    }
  };

  const kill = async (): Promise<void> => {
    stopSignal.abort();
    const processes = [...slots, ...initSlots].map((slot) => slot.process).filter((process) => process !== null);
    for (const process of processes) process.signal("SIGKILL");
    await Promise.all(processes.map((process) => process.exited));
    cleanUp();
  };

  const cleanUp = (): void => {
    for (const slot of [...slots, ...initSlots]) {
      slot.life.abort();
      slot.log.close();
    }
    surroundings.remove();
  };

  const running_: RunningPod = {
    name,
    facts,
    events,
    isReady: () => slots.length > 0 && slots.every((slot) => slot.isReady),
    async ready(timeoutMs = 15_000) {
      const deadlineMs = Date.now() + timeoutMs;
      while (!running_.isReady()) {
        if (Date.now() > deadlineMs) {
          const waiting = slots.filter((slot) => !slot.isReady).map((slot) => slot.container.name);
          throw new Error(`pod ${name} is not ready after ${timeoutMs} ms, waiting for ${waiting.join(", ")}\n${logs()}`);
        }
        await pause(20, stopSignal.signal);
      }
    },
    log: (container) => [...slots, ...initSlots].find((slot) => slot.container.name === container)?.log.text() ?? "",
    logs,
    restarts: (container) => slotOf(container).restarts,
    pid: (container) => running(slotOf(container)).pid,
    exec: (container, argv, options) => running(slotOf(container)).exec(argv, options),
    signal: (container, signal) => running(slotOf(container)).signal(signal),
    refreshTokens: surroundings.refreshTokens,
    stop(graceMs = (pod.spec.terminationGracePeriodSeconds ?? 30) * 1000) {
      stopping ??= stop(graceMs);
      return stopping;
    },
    kill() {
      stopping ??= kill();
      return stopping;
    },
  };

  try {
    for (const container of pod.spec.initContainers ?? []) {
      if (container.restartPolicy !== "Always") {
        await runToCompletion(container);
        continue;
      }
      const slot = addSlot(container, true);
      await launch(slot);
      await watch(slot);
    }
    for (const container of pod.spec.containers) {
      const slot = addSlot(container, false);
      await launch(slot);
      watch(slot).catch((error: Error) => slot.log.append(`pod runner: ${error.message.split("\n", 1)[0]}\n`));
    }
  } catch (error) {
    await running_.stop(0);
    throw error;
  }
  return running_;
}
