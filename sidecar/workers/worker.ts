// A worker: one of several processes that serve the ports of one sidecar. It runs the traffic alone; identity, discovery and admin are the first
// process's, which starts it, tells it what it needs, and ends it. When that process is gone, however it ended, the worker ends at once: without it
// nobody announces the sidecar or renews its certificates, and whoever starts it again needs the ports.
import { systemClock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import { spiffeId } from "../../core/spiffe.ts";
import { startTracing } from "../../core/tracing.ts";
import { createLoadReport } from "../admin/load-report.ts";
import { createObserver } from "../admin/observer.ts";
import type { SidecarConfig } from "../config.ts";
import { drainInbound, drainOutbound, openTraffic, type Traffic } from "../traffic.ts";
import { layOut } from "./memory-layout.ts";
import { MEMORY_FD, report, type ToWorker } from "./messages.ts";
import { openMetricArena } from "./metric-arena.ts";
import { unpackCredentials } from "./packed-credentials.ts";
import { createSharedLimits } from "./shared-limits.ts";
import { mapSharedMemory } from "./shared-memory.ts";
import { createWorkerDiscovery } from "./worker-discovery.ts";
import { createWorkerIdentity, type WorkerIdentity } from "./worker-identity.ts";
import { createWorkerMetrics } from "./worker-metrics.ts";

/** What a worker is started with. */
export interface WorkerParts {
  /** From 1. */
  readonly number: number;
  readonly config: SidecarConfig;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  /** Ends the process. */
  readonly exit: (code: number) => void;
}

/** Waits for the first process's orders and follows them until the process ends. */
export function runWorker({ number, config, env, log, exit }: WorkerParts): void {
  const slot = number - 1;
  const clock = systemClock;
  const layout = layOut(config.workers, config.rateLimit);
  const buffer = mapSharedMemory(MEMORY_FD, layout.bytes);
  const metrics = createWorkerMetrics(openMetricArena(layout.metrics(buffer, slot)), log);
  const discovery = createWorkerDiscovery(clock, report);
  /** Both are there from `start` on; the ports a moment later. */
  let identity: WorkerIdentity | null = null;
  let traffic: Traffic | null = null;

  process.on("disconnect", () => {
    traffic?.inbound.stop(); // at once, whatever the log file still takes
    traffic?.outbound.stop();
    exit(1);
  });
  process.on("message", (message) => void follow(message as ToWorker)); // only the first process writes to the channel

  async function start({ inboundPort, outboundPort, credentials }: Extract<ToWorker, { kind: "start" }>): Promise<void> {
    const { trustDomain, namespace, serviceAccount } = config;
    const self = createWorkerIdentity(spiffeId({ trustDomain, namespace, serviceAccount }), unpackCredentials(credentials), (err) =>
      log.error({ err }, "a listener failed to take the new certificate"),
    );
    identity = self; // before the first await: a renewal may come meanwhile
    const { tracer } = await startTracing({ component: "sidecar", env, log });
    const load = createLoadReport(clock, layout.load(buffer, slot));
    const observer = createObserver({ metrics, log, accessLog: config.accessLog, clock, tracer, load });
    const { rateLimit: rules, maxInflight, maxConnections } = config;
    const shared = createSharedLimits({ buffer, layout, slot, rules, maxInflight, maxConnections, clock, pid: process.pid });
    traffic = await openTraffic({
      config: { ...config, inboundPort, outboundPort },
      identity: self,
      discovery,
      observer,
      clock,
      random: Math.random,
      shared,
    });
    log.debug({ inboundPort, outboundPort }, "worker listening");
    report({ kind: "listening" });
  }

  async function drain(direction: "inbound" | "outbound"): Promise<void> {
    if (traffic !== null) await (direction === "inbound" ? drainInbound(traffic, clock) : drainOutbound(traffic, clock));
    report({ kind: "drained", direction });
  }

  async function follow(message: ToWorker): Promise<void> {
    switch (message.kind) {
      case "start":
        return start(message).catch((error: unknown) => {
          report({ kind: "failed", message: error instanceof Error ? error.message : String(error) });
          setImmediate(() => exit(1)); // once it is on its way
        });
      case "credentials":
        return identity?.take(unpackCredentials(message.credentials));
      case "views":
        return discovery.takeViews(message.views);
      case "forget":
        return discovery.forget(message.key);
      case "refresh":
        metrics.refresh();
        return report({ kind: "refreshed", id: message.id });
      case "drain":
        return drain(message.direction);
      case "close":
        await traffic?.close();
        return exit(0);
    }
  }
}
