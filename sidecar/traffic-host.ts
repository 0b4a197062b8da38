// Where the traffic of a sidecar is served: in this process, which is usual, or in several workers (workers/worker-pool.ts). The boot story in
// sidecar.ts is the same for both.
import type { Clock } from "../core/clock.ts";
import type { Closable } from "../core/lifecycle.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { startTracing } from "../core/tracing.ts";
import type { Load } from "./admin/load-report.ts";
import { createObserver } from "./admin/observer.ts";
import type { SidecarConfig } from "./config.ts";
import type { DestinationFollower } from "./discovery/destinations.ts";
import type { Discovery } from "./discovery/discovery.ts";
import type { IdentitySource } from "./identity/identity-source.ts";
import { drainTraffic, openTraffic } from "./traffic.ts";

/** What a host is made of. */
export interface TrafficHostParts {
  readonly config: SidecarConfig;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** One of several processes that serve, as `/api/v1/info` shows it. */
export interface WorkerInfo {
  /** From 1; also on each of its log lines. */
  readonly worker: number;
  readonly pid: number | null;
  readonly state: "starting" | "listening" | "waiting" | "ended";
  readonly restarts: number;
}

/** Ports that are open. */
export interface OpenTraffic extends Closable {
  readonly inboundPort: number;
  readonly outboundPort: number;
  /** Leaves the mesh without failing a request: see `drainTraffic`. */
  drain(): Promise<void>;
}

/** Serves traffic. Closing it ends what outlives the ports. */
export interface TrafficHost extends Closable {
  /** What `/metrics` shows. */
  readonly metrics: Metrics;
  /** Has to hear of destinations; absent where discovery is asked directly. */
  readonly follower?: DestinationFollower;
  /** Inbound load since the last call, for the heartbeat. */
  takeLoad(): Load;
  /** Opens both ports; call it once. Rejects with Node's error when one can't be had. */
  open(identity: IdentitySource, discovery: Discovery): Promise<OpenTraffic>;
  /** The workers; null where there are none. */
  workers(): readonly WorkerInfo[] | null;
}

/** Makes the host that the settings ask for. What only workers need is loaded only for them. */
export async function createTrafficHost(parts: TrafficHostParts): Promise<TrafficHost> {
  if (parts.config.workers === 1) return createLocalHost(parts);
  const { createWorkerPool } = await import("./workers/worker-pool.ts");
  return createWorkerPool(parts);
}

async function createLocalHost(parts: TrafficHostParts): Promise<TrafficHost> {
  const { config, clock, log, metrics } = parts;
  const tracing = await startTracing({ component: "sidecar", env: parts.env, log });
  const observer = createObserver({ metrics, log, accessLog: config.accessLog, clock, tracer: tracing.tracer });
  return {
    metrics,
    takeLoad: () => observer.takeLoad(),
    async open(identity, discovery) {
      const traffic = await openTraffic({ ...parts, identity, discovery, observer });
      return {
        inboundPort: traffic.inbound.port,
        outboundPort: traffic.outbound.port,
        drain: () => drainTraffic(traffic, discovery, clock),
        close: () => traffic.close(),
      };
    },
    workers: () => null,
    close: () => tracing.close(),
  };
}
