// The first process of a sidecar that serves with several: it keeps identity, discovery and admin, and starts workers that run the traffic. They share
// the ports by SO_REUSEPORT and the limits by memory; what they know of the mesh they are told from here. A worker that ends takes its connections
// with it and is started again; the others go on.
//
// What is each worker's own, because it lives with a connection: replay memory of signatures (a signature is bound to its connection by the TLS exporter,
// and a connection lives in one worker), pools of upstream connections, breakers and latency estimates. That an endpoint refuses is shared.
import { randomFillSync } from "node:crypto";
import { createLoadReader, forgetInFlight } from "../admin/load-report.ts";
import { bindAddress } from "../addresses.ts";
import type { Discovery } from "../discovery/discovery.ts";
import type { IdentitySource } from "../identity/identity-source.ts";
import type { OpenTraffic, TrafficHost, TrafficHostParts } from "../traffic-host.ts";
import { choosePorts } from "./choose-ports.ts";
import { createDestinationFeed, type DestinationFeed } from "./destination-feed.ts";
import { BOUND_NAMES, layOut } from "./memory-layout.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import { mergeMetrics } from "./merged-metrics.ts";
import { clearGauges, openMetricArena } from "./metric-arena.ts";
import { packCredentials } from "./packed-credentials.ts";
import { createSharedMemory } from "./shared-memory.ts";
import { startPulse } from "./pulse.ts";
import { createWorkerProcess, type WorkerProcess } from "./worker-process.ts";
import { createWorkerQuestions } from "./worker-questions.ts";

/** How long a scrape waits for workers to bring their gauges up to date; one that is late is shown as it was. */
const REFRESH_TIMEOUT_MS = 250;
/** How long a worker may take to end once it is told to. */
const END_GRACE_MS = 1_000;

/** What workers are told once the ports are known. */
interface Opened {
  readonly identity: IdentitySource;
  readonly discovery: Discovery;
  readonly inboundPort: number;
  readonly outboundPort: number;
}

/** Starts `config.workers` processes, which load while identity and discovery are prepared. @throws ConfigError where memory cannot be shared */
export function createWorkerPool(parts: TrafficHostParts): TrafficHost {
  const { config, clock, log } = parts;
  const layout = layOut(config.workers, config.rateLimit);
  const memory = createSharedMemory(layout.bytes);
  const { buffer } = memory;
  randomFillSync(layout.seed(buffer));
  const slots = Array.from({ length: config.workers }, (_, slot) => slot);
  const counted = slots.map((slot) => ({ arena: openMetricArena(layout.metrics(buffer, slot)), load: layout.load(buffer, slot) }));
  const bounds = BOUND_NAMES.map((name) => layout.bound(buffer, name));
  const load = createLoadReader(
    clock,
    counted.map(({ load }) => load),
  );
  const questions = createWorkerQuestions(clock);
  const feeds = new Map<WorkerProcess, DestinationFeed>();
  let opened: Opened | null = null;
  let refreshes = 0;
  /** Set while `open` waits: called at each worker that listens or ends. */
  let onProgress: ((failure: string | null) => void) | null = null;

  const events = { born: begin, said: hear, died: bury, listens: () => onProgress?.(null) };
  const workers = slots.map((slot) => createWorkerProcess({ number: slot + 1, env: parts.env, memoryFd: memory.fd, clock, log, events }));

  const pulse = startPulse({ clock, log, listening, ask: (worker) => worker.tell({ kind: "refresh", id: 0 }) });

  /** Tells a new process what it needs, as soon as that is known. */
  function begin(worker: WorkerProcess): void {
    if (opened === null) return;
    const { identity, discovery, inboundPort, outboundPort } = opened;
    feeds.set(worker, createDestinationFeed(discovery, onlyTo(worker)));
    worker.tell({ kind: "start", inboundPort, outboundPort, credentials: packCredentials(identity.current()) });
  }

  /** Reaches the process that there is now, and not the one that follows it. */
  function onlyTo(worker: WorkerProcess): (message: ToWorker) => void {
    const { pid } = worker;
    return (message) => {
      if (worker.pid === pid) worker.tell(message);
    };
  }

  function hear(worker: WorkerProcess, message: FromWorker): void {
    pulse.heard(worker);
    questions.heard(worker, message);
    switch (message.kind) {
      case "lookup":
      case "used":
      case "unwatch":
      case "refused":
        feeds.get(worker)?.ask(message);
    }
  }

  /** Gives back what a process held; what it counted stays. */
  function bury(worker: WorkerProcess, failure: string | null): void {
    const slot = worker.number - 1;
    const own = counted[slot];
    for (const cells of bounds) Atomics.store(cells, slot, 0);
    if (own !== undefined) {
      forgetInFlight(own.load);
      clearGauges(own.arena);
    }
    feeds.delete(worker);
    pulse.heard(worker);
    questions.ended(worker);
    onProgress?.(failure ?? "it ended while it was starting");
  }

  function listening(): readonly WorkerProcess[] {
    return workers.filter(({ state }) => state.kind === "listening");
  }

  function allListen(): Promise<void> {
    return new Promise((resolve, reject) => {
      onProgress = (failure) => {
        if (failure !== null) reject(new Error(`a worker cannot start: ${failure}`));
        else if (listening().length === workers.length) resolve();
      };
    });
  }

  async function refresh(): Promise<void> {
    refreshes += 1;
    const id = refreshes;
    await questions.ask(listening(), { kind: "refresh", id }, (said) => said.kind === "refreshed" && said.id === id, REFRESH_TIMEOUT_MS);
  }

  /** All workers end one direction before any begins with the next: an answer on its way out of one may need a call through another. */
  async function drain(discovery: Discovery): Promise<void> {
    for (const worker of workers) worker.retire();
    discovery.setState("draining");
    await discovery.deregister();
    for (const direction of ["inbound", "outbound"] as const) {
      await questions.ask(listening(), { kind: "drain", direction }, (said) => said.kind === "drained" && said.direction === direction);
    }
  }

  async function end(): Promise<void> {
    pulse.close();
    await Promise.all(workers.map((worker) => worker.end(END_GRACE_MS)));
  }

  async function open(identity: IdentitySource, discovery: Discovery): Promise<OpenTraffic> {
    const [inboundPort = 0, outboundPort = 0] = await choosePorts(bindAddress(config), [config.inboundPort, config.outboundPort]);
    const unsubscribe = identity.onChange((credentials) => {
      const packed = packCredentials(credentials);
      for (const worker of workers) worker.tell({ kind: "credentials", credentials: packed });
    });
    const ready = allListen();
    opened = { identity, discovery, inboundPort, outboundPort };
    for (const worker of workers) if (worker.pid !== null) begin(worker);
    await ready;
    onProgress = null;
    return {
      inboundPort,
      outboundPort,
      drain: () => drain(discovery),
      async close() {
        unsubscribe();
        await end();
      },
    };
  }

  return {
    metrics: mergeMetrics(
      parts.metrics,
      counted.map(({ arena }) => arena),
      refresh,
    ),
    follower: {
      changed(key, view) {
        for (const feed of feeds.values()) feed.changed(key, view);
      },
      forgotten(key) {
        for (const feed of feeds.values()) feed.forgotten(key);
      },
    },
    takeLoad: () => load.take(),
    open,
    workers: () => workers.map(({ number, pid, state, restarts }) => ({ worker: number, pid, state: state.kind, restarts })),
    close: end,
  };
}
