// The life of one pod, as a kubelet leads it: init containers in order, native sidecars among them with their startup probe, then the containers;
// and the end: containers first, native sidecars last and in reverse order. Owns the order of things and the event list.
import type { ContainerProcess, ExecOptions, ExecResult } from "./container.ts";
import type { ContainerLog } from "./container-log.ts";
import type { Container, Pod, PodFacts } from "./pod-spec.ts";
import { pause } from "./probes.ts";
import {
  type ContainerEventKind,
  createSupervisedContainer,
  formatExit,
  type Supervision,
  type SupervisedContainer,
} from "./supervised-container.ts";

const DEFAULT_GRACE_S = 30;
const READY_POLL_MS = 20;

/** Something that happened, in order. */
export interface PodEvent {
  readonly atMs: number;
  readonly container: string;
  readonly what: ContainerEventKind;
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

/** Runs the pod up to the point where all its containers have started. @throws Error with logs when an init container or a startup probe fails */
export async function runPod(pod: Pod, facts: PodFacts, surroundings: PodSurroundings): Promise<RunningPod> {
  const { name } = pod.metadata;
  const events: PodEvent[] = [];
  const stopSignal = new AbortController();
  const inits: SupervisedContainer[] = [];
  /** In the order of their start. */
  const sidecars: SupervisedContainer[] = [];
  const apps: SupervisedContainer[] = [];
  let stopping: Promise<void> | null = null;

  const all = () => [...inits, ...sidecars, ...apps];
  const lasting = () => [...sidecars, ...apps];
  const isReady = () => apps.length > 0 && lasting().every((one) => one.isReady());
  const logs = () =>
    all()
      .map((one) => `--- ${name}/${one.container.name}\n${one.log.text()}`)
      .join("\n");
  const find = (containerName: string): SupervisedContainer => {
    const found = all().find(({ container }) => container.name === containerName);
    if (found === undefined) throw new Error(`pod ${name} has no container ${containerName}`);
    return found;
  };

  const supervise = (container: Container, restart: Supervision["restart"]): SupervisedContainer => {
    const log = surroundings.openLog(container);
    return createSupervisedContainer(container, {
      address: facts.podIps[0] ?? "",
      restart,
      log,
      spawn: () => surroundings.start(container, log),
      note: (what, detail) => events.push({ atMs: Date.now(), container: container.name, what, detail }),
      stopping: stopSignal.signal,
    });
  };

  async function startAll(): Promise<void> {
    for (const container of pod.spec.initContainers ?? []) {
      if (container.restartPolicy === "Always") await startSidecar(container);
      else await runInit(container);
    }
    for (const container of pod.spec.containers) await startApp(container);
  }

  async function runInit(container: Container): Promise<void> {
    const init = supervise(container, "never");
    inits.push(init);
    const status = await init.runToCompletion();
    if (status.code !== 0) throw new Error(`init container ${container.name} failed (${formatExit(status)}):\n${init.log.text()}`);
  }

  async function startSidecar(container: Container): Promise<void> {
    const sidecar = supervise(container, "always");
    sidecars.push(sidecar);
    await sidecar.start();
    await sidecar.watch();
  }

  /** The next container starts once this one has, not once it is ready. */
  async function startApp(container: Container): Promise<void> {
    const app = supervise(
      container,
      { Always: "always", OnFailure: "on_failure", Never: "never" }[pod.spec.restartPolicy ?? "Always"] as Supervision["restart"],
    );
    apps.push(app);
    await app.start();
    app.watch().catch((error: Error) => app.log.append(`pod runner: ${error.message}\n`));
  }

  async function stop(graceMs: number): Promise<void> {
    stopSignal.abort();
    const deadlineMs = Date.now() + graceMs;
    try {
      await Promise.all(inits.map((init) => init.kill()));
      await Promise.all(apps.map((app) => app.terminate(deadlineMs)));
      for (const sidecar of sidecars.toReversed()) await sidecar.terminate(deadlineMs);
    } finally {
      cleanUp();
    }
  }

  async function kill(): Promise<void> {
    stopSignal.abort();
    await Promise.all(all().map((one) => one.kill()));
    cleanUp();
  }

  function cleanUp(): void {
    for (const one of all()) one.close();
    surroundings.remove();
  }

  const running: RunningPod = {
    name,
    facts,
    events,
    isReady,
    async ready(timeoutMs = 15_000) {
      const deadlineMs = Date.now() + timeoutMs;
      while (!isReady()) {
        const waiting = lasting()
          .filter((one) => !one.isReady())
          .map(({ container }) => container.name);
        if (Date.now() > deadlineMs || stopSignal.signal.aborted) {
          throw new Error(`pod ${name} is not ready after ${timeoutMs} ms, waiting for ${waiting.join(", ")}\n${logs()}`);
        }
        await pause(READY_POLL_MS, stopSignal.signal);
      }
    },
    log: (container) =>
      all()
        .find((one) => one.container.name === container)
        ?.log.text() ?? "",
    logs,
    restarts: (container) => find(container).restarts(),
    pid: (container) => find(container).process().pid,
    exec: (container, argv, options) => find(container).process().exec(argv, options),
    signal: (container, signal) => find(container).process().signal(signal),
    refreshTokens: surroundings.refreshTokens,
    stop(graceMs = (pod.spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_S) * 1000) {
      stopping ??= stop(graceMs);
      return stopping;
    },
    kill() {
      stopping ??= kill();
      return stopping;
    },
  };

  try {
    await startAll();
  } catch (error) {
    const message = `pod ${name}: ${(error as Error).message}\n${logs()}`;
    await running.stop(0);
    throw new Error(message, { cause: error });
  }
  return running;
}
