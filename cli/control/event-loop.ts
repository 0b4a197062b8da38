// How late the control plane's own work comes: the delay of its event loop since the last scrape, under the names that dashboards of Node know. Only here; a sidecar
// does not pay for the timer.
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Metrics } from "../../core/metrics.ts";

const RESOLUTION_MS = 20;
const NS_PER_SECOND = 1e9;

/** Starts measuring and adds the two gauges. */
export function watchEventLoop(metrics: Metrics): { close(): Promise<void> } {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  // The histogram measures the whole wait of its own timer; what is above that is delay.
  const late = (ns: number) => Math.max(0, ns / NS_PER_SECOND - RESOLUTION_MS / 1000) || 0;
  metrics.gauge({
    name: "nodejs_eventloop_lag_p99_seconds",
    help: "99th percentile of the event loop's delay since the last scrape.",
    read: () => late(delay.percentile(99)),
  });
  metrics.gauge({
    name: "nodejs_eventloop_lag_max_seconds",
    help: "Longest delay of the event loop since the last scrape.",
    read() {
      const longest = late(delay.max);
      delay.reset(); // read last, as it is registered last
      return longest;
    },
  });
  return {
    close() {
      delay.disable();
      return Promise.resolve();
    },
  };
}
