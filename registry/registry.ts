// The registry role of the control plane (design 8), put together: announcements come in over heartbeat streams and REST, go into the lease store,
// and out to watchers as versioned answers. Nothing here knows Kubernetes, Redis or certificates; those arrive as arguments.
import { status } from "@grpc/grpc-js";
import type { Route } from "../core/admin-server.ts";
import { type Audit, auditToLog } from "../core/audit/audit.ts";
import type { Clock, Timer } from "../core/clock.ts";
import { RegistryError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { CallLimits } from "../core/policy/caller-limits.ts";
import type { WatchRule } from "../core/policy/watch-rules.ts";
import type { RegistryHandlers } from "../core/wire/registry.ts";
import type { BidiCall } from "../core/wire/server-call.ts";
import { createJudgedAt, type JudgedAt } from "../core/x509/judged-at.ts";
import { createAnnounce } from "./announce.ts";
import type { MayAnnounce } from "./announce-policy.ts";
import { createEndings } from "./endings.ts";
import { createHeartbeatAnswers, serveHeartbeat } from "./heartbeat-stream.ts";
import type { LeaseStore } from "./lease-store.ts";
import type { LeaseChange } from "./lease-table.ts";
import type { MeshReaders } from "./mesh-readers.ts";
import type { Peer } from "./peer.ts";
import { identifyPeer } from "./peer.ts";
import { createPressure, type Pressure } from "./pressure.ts";
import { createRegistryAudit } from "./registry-audit.ts";
import { createRegistryMetrics } from "./registry-metrics.ts";
import type { Authenticate } from "./rest.ts";
import { createRegistryRoutes } from "./rest.ts";
import type { ServiceSource } from "./service-source.ts";
import { createUpdateEncoder } from "./update-encoder.ts";
import { createViews } from "./views.ts";
import { viewsFor } from "./visible-views.ts";
import type { WarmUp } from "./watch-stream.ts";
import { serveWatch } from "./watch-stream.ts";

const SWEEP_PERIOD_MS = 1000;
/** Streams of both kinds one replica serves; more are refused with RESOURCE_EXHAUSTED. */
const MAX_STREAMS = 50_000;
const NO_READERS: MeshReaders = { readers: [], token: null };

/** Settings of {@link createRegistry}. */
export interface RegistryOptions {
  readonly store: LeaseStore;
  readonly services: ServiceSource;
  readonly mayAnnounce: MayAnnounce;
  readonly clock: Clock;
  /** When certificates of callers are judged; default: by `clock`. */
  readonly judgedAt?: JudgedAt;
  /** 0..1 */
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Default: the log. */
  readonly audit?: Audit;
  readonly trustDomain: string;
  /** What ends a full service name, `orders.ns.svc.<cluster domain>`. Default "cluster.local". */
  readonly clusterDomain?: string;
  /** What sidecars are told. Default 5000. */
  readonly heartbeatIntervalMs?: number;
  /** What sidecars are told; the store's own setting decides. Default 15000. */
  readonly leaseMs?: number;
  /** Share of the time in which this process worked since the last call (0..1): under pressure sidecars are asked to report less often. Default: never. */
  readonly utilization?: () => number;
  /** What callers over REST may take; those over gRPC are counted where they call. Default: no limit. */
  readonly limits?: CallLimits;
  /** Who may learn where which services are; null or absent: everybody of all. */
  readonly watchRules?: readonly WatchRule[] | null;
  /** Who may read the whole mesh from elsewhere; default: nobody. */
  readonly readers?: MeshReaders;
  /** Proves the credential of `POST /api/v1/heartbeat`; without it the route does not exist. */
  readonly authenticate?: Authenticate;
}

/** The parts of one health answer. */
export interface RegistryHealth {
  readonly status: "ok" | "degraded";
  /** Epoch ms. */
  readonly since?: number;
  readonly message?: string;
}

/** What is kept of a stream that is open. */
interface OpenCall {
  end(): unknown;
  on(event: "close", listener: () => void): unknown;
}

/** A running registry. */
export interface Registry {
  /** Handlers of the `Registry` service of core/wire. */
  readonly registryImplementation: RegistryHandlers;
  readonly routes: readonly Route[];
  health(): RegistryHealth;
  /**
   * Sidecars can reach it from now on. Until then no lease ends, however long that takes (its own certificate may be long in coming): nobody could have renewed one.
   */
  begin(): void;
  /** Ends every stream, so that sidecars go to another replica. The store and the source stay the caller's to close. */
  close(): Promise<void>;
}

/** Makes it; leases begin to end with {@link Registry.begin}. */
export function createRegistry(options: RegistryOptions): Registry {
  const { store, services: source, clock, log, trustDomain, heartbeatIntervalMs = 5000, leaseMs = 15_000 } = options;
  const judgedAt = options.judgedAt ?? createJudgedAt(clock);
  const metrics = createRegistryMetrics(options.metrics);
  const views = createViews({ leases: store.leases, source, clock, random: options.random });
  const audit = options.audit ?? auditToLog(log);
  const trail = createRegistryAudit(audit, store.leases);
  const pressure = createPressure({
    usual: { intervalMs: heartbeatIntervalMs, leaseMs },
    utilization: options.utilization ?? (() => 0),
    clock,
    onChange: (terms, busyRatio) => log.warn({ ...terms, busyRatio }, "sidecars are asked to report in another interval"),
  });
  options.metrics.gauge({
    name: "remora_registry_heartbeat_interval_seconds",
    help: "How often sidecars are asked to report; more than configured while this process is short of CPU.",
    read: () => pressure.terms.intervalMs / 1000,
  });
  const announce = createAnnounce({
    store,
    mayAnnounce: options.mayAnnounce,
    leaseMs: () => pressure.terms.leaseMs,
    metrics,
    log,
    audit,
    trail,
  });
  const streams = new Set<OpenCall>();
  let sweeping = false;

  async function sweep(): Promise<void> {
    if (sweeping) return;
    sweeping = true;
    try {
      const ended = await store.sweep();
      metrics.sweeps.inc();
      metrics.expired.inc({}, ended);
      metrics.degraded.set(store.status().status === "degraded" ? 1 : 0);
      if (ended > 0) log.info({ ended, instances: store.leases.size }, "leases expired");
    } catch (error) {
      log.error({ err: error }, "the sweep failed");
    } finally {
      sweeping = false;
    }
  }

  function count({ before, after }: LeaseChange): void {
    if (before !== null) metrics.instances.child({ state: before.state }).dec();
    if (after !== null) metrics.instances.child({ state: after.state }).inc();
  }

  /** Admits one call, or ends it with what is wrong. */
  function serve<Request, Response>(
    call: BidiCall<Request, Response>,
    gauge: "watchers" | "heartbeatStreams",
    run: (peer: Peer) => void,
  ): void {
    try {
      if (streams.size >= MAX_STREAMS) throw new RegistryError("overloaded", `this replica serves its most, ${MAX_STREAMS} streams`);
      const peer = identifyPeer(call, { trustDomain, judgedAt });
      open(call, gauge);
      run(peer);
    } catch (error) {
      refuse(call, error);
    }
  }

  function open(call: OpenCall, gauge: "watchers" | "heartbeatStreams"): void {
    streams.add(call);
    metrics[gauge].inc();
    call.on("close", () => {
      if (streams.delete(call)) metrics[gauge].dec();
    });
  }

  function refuse<Request, Response>(call: BidiCall<Request, Response>, error: unknown): void {
    const known = error instanceof RegistryError;
    if (!known) log.error({ err: error }, "a stream could not be opened");
    metrics.refused.inc({ reason: known ? error.code : "overloaded" });
    const code = known && error.code === "unauthenticated" ? status.UNAUTHENTICATED : status.RESOURCE_EXHAUSTED;
    call.emit("error", { code, details: known ? error.message : "the stream could not be opened" });
  }

  const stopCounting = store.leases.onChange(count);
  for (const { lease } of store.leases.all()) count({ before: null, after: lease });
  let sweeper: Timer | null = null;
  const answers = createHeartbeatAnswers(() => ({
    nextIntervalMs: pressure.terms.intervalMs,
    leaseMs: pressure.terms.leaseMs,
    degraded: store.status().status === "degraded",
  }));
  const heartbeatParts = { announce, answers, store, clock, metrics };
  const warmUp = createWarmUp(clock);
  const endings = createEndings(clock);
  const watchParts = {
    updates: createUpdateEncoder(),
    endings,
    metrics,
    clusterDomain: options.clusterDomain ?? "cluster.local",
    warmUp,
  };
  const visible = { views, rules: options.watchRules ?? null, metrics, audit };
  const authenticate = options.authenticate ?? null;
  const limits = options.limits ?? null;

  return {
    registryImplementation: {
      heartbeat: (call) => serve(call, "heartbeatStreams", (peer) => serveHeartbeat(call, peer, heartbeatParts)),
      watch: (call) => serve(call, "watchers", (peer) => serveWatch(call, peer, viewsFor(peer, visible), watchParts)),
    },
    routes: createRegistryRoutes({
      store,
      source,
      announce,
      authenticate,
      limits,
      heartbeatIntervalMs,
      leaseMs,
      readers: { ...(options.readers ?? NO_READERS), authenticate, limits, metrics, audit },
    }),
    health: () => healthOf(store, source, pressure),
    begin() {
      store.postpone();
      sweeper = clock.every(SWEEP_PERIOD_MS, () => void sweep());
      warmUp.endAfter(store.leases.size === 0 ? leaseMs : 0);
    },
    async close() {
      sweeper?.cancel();
      stopCounting();
      trail.close();
      views.close();
      warmUp.close();
      endings.close();
      pressure.close();
      for (const stream of streams) stream.end();
    },
  };
}

/** Over one lease time after the registry can be reached: by then a sidecar that did not announce itself again has lost its lease anyway. */
function createWarmUp(clock: Clock): WarmUp & { endAfter(ms: number): void; close(): void } {
  const waiting = new Set<() => void>();
  let over = false;
  let timer: Timer | null = null;

  function end(): void {
    over = true;
    for (const run of waiting) run();
    waiting.clear();
  }

  return {
    endAfter(ms) {
      if (ms === 0) end();
      else timer = clock.after(ms, end);
    },
    isOver: () => over,
    onOver(run) {
      if (!over) waiting.add(run);
      return () => void waiting.delete(run);
    },
    close: () => timer?.cancel(),
  };
}

function healthOf(store: LeaseStore, source: ServiceSource, pressure: Pressure): RegistryHealth {
  const kept = store.status();
  if (kept.status === "degraded") return { status: "degraded", since: kept.since, message: `redis: ${kept.message}` };
  const problem = source.problem();
  if (problem === null && pressure.since !== null)
    return { status: "degraded", since: pressure.since, message: `short of CPU: heartbeats each ${pressure.terms.intervalMs / 1000} s` };
  return problem === null ? { status: "ok" } : { status: "degraded", since: problem.since, message: `services: ${problem.message}` };
}
