// Twin of what workers share on the path of a request: sidecar/workers/shared-limits.ts and worker-metrics.ts, next to their like of one process. One
// process measures here, so that nobody else holds the lock.
import { systemClock } from "../../core/clock.ts";
import { silentLogger } from "../../core/log.ts";
import { createMetrics } from "../../core/metrics.ts";
import { createLoadShed } from "../../sidecar/policy/load-shed.ts";
import { createRateLimiter, parseRateLimits } from "../../sidecar/policy/rate-limit.ts";
import { layOut } from "../../sidecar/workers/memory-layout.ts";
import { openMetricArena } from "../../sidecar/workers/metric-arena.ts";
import { createSharedLimits } from "../../sidecar/workers/shared-limits.ts";
import { createSharedMemory } from "../../sidecar/workers/shared-memory.ts";
import { createWorkerMetrics } from "../../sidecar/workers/worker-metrics.ts";
import type { Cases } from "./measure.ts";

const request = { identity: "spiffe://cluster.local/ns/shop/sa/web", ip: "10.0.0.1", path: "/api/orders?id=7", method: "GET" };
const LABELS = { direction: "inbound", status: "200" };

/** A limit, a bound, a counter and a histogram, each shared and alone; a new caller at each call. */
export function cases(): Cases {
  const rules = parseRateLimits("1000000000/s per=identity");
  const layout = layOut(2, rules);
  const { buffer } = createSharedMemory(layout.bytes);
  const bounds = { maxInflight: 1_024, maxConnections: 20_000 };
  const shared = createSharedLimits({ buffer, layout, slot: 0, rules, ...bounds, clock: systemClock, pid: process.pid });
  const limiter = createRateLimiter({ rules, clock: systemClock });
  const shed = createLoadShed({ maxInFlight: bounds.maxInflight });
  const names = { name: "remora_bench_total", help: "Bench.", labels: Object.keys(LABELS) };
  const times = { ...names, name: "remora_bench_seconds" };
  const worker = createWorkerMetrics(openMetricArena(layout.metrics(buffer, 0)), silentLogger());
  const own = createMetrics({ component: "bench", version: "0", commit: "none" });
  const [sharedCount, ownCount] = [worker.counter(names).child(LABELS), own.counter(names).child(LABELS)];
  const [sharedTimes, ownTimes] = [worker.histogram(times).child(LABELS), own.histogram(times).child(LABELS)];
  const callers = [request, { ...request, identity: "spiffe://cluster.local/ns/shop/sa/cart" }] as const;
  let next = 0;
  return {
    "one rule, alone": () => limiter.check(request),
    "one rule, shared": () => shared.limiter.check(request),
    "two callers in turn, alone": () => limiter.check(callers[next++ & 1] ?? request),
    "two callers in turn, shared": () => shared.limiter.check(callers[next++ & 1] ?? request),
    "new key each time, shared": () => shared.limiter.check({ ...request, identity: `caller-${next++}` }),
    "in flight, alone": () => shed.tryEnter() && shed.leave(),
    "in flight, shared": () => shared.inboundShed.tryEnter() && shared.inboundShed.leave(),
    "counter, alone": () => ownCount.inc(),
    "counter, shared": () => sharedCount.inc(),
    "histogram, alone": () => ownTimes.observe(0.0012),
    "histogram, shared": () => sharedTimes.observe(0.0012),
  };
}
