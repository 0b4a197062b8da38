// Twin of sidecar/admin/observer.ts, core/metrics.ts, metrics-children.ts and metrics-histogram.ts: what counting one request costs.
import { systemClock } from "../../core/clock.ts";
import { silentLogger } from "../../core/log.ts";
import { createMetrics } from "../../core/metrics.ts";
import { createChildren } from "../../core/metrics-children.ts";
import { noTracer } from "../../core/tracing.ts";
import { createObserver } from "../../sidecar/admin/observer.ts";
import { type ConnectionContext, Exchange } from "../../sidecar/exchange.ts";
import { FlatFields } from "../../sidecar/fields.ts";
import type { Cases } from "./measure.ts";

const CONNECTION: ConnectionContext = {
  connectionId: 1,
  direction: "inbound",
  protocol: "http1",
  peer: { identity: null, address: "10.0.0.1", channelBinding: null, told: false },
  port: 8080,
};
const HEAD = {
  method: "GET",
  authority: "orders",
  path: "/",
  isPlainPath: true,
  fields: new FlatFields(["Host", "orders", "Accept", "*/*"]),
};

function exchange(status: number): Exchange {
  const made = new Exchange(CONNECTION, HEAD, systemClock.monoMs());
  made.status = status;
  return made;
}

/** One request with its status known or not known before; children by label set; the path's own counter and histogram. */
export function cases(): Cases {
  const metrics = createMetrics({ component: "sidecar", version: "0", commit: "bench" });
  const observer = createObserver({ metrics, log: silentLogger(), accessLog: false, clock: systemClock, tracer: noTracer });
  const counter = metrics.counter({ name: "remora_bench_total", help: "Calls.", labels: ["direction", "status"] });
  const histogram = metrics.histogram({ name: "remora_bench_seconds", help: "Nothing.", labels: ["direction"] });
  const labels = { direction: "inbound", status: "200" };
  const [count, duration] = [counter.child(labels), histogram.child({ direction: "inbound" })];
  const full = createChildren("remora_full", ["key"], (key) => key);
  let next = 0;
  const done = exchange(200);
  return {
    "began and finished": () => {
      observer.began(done);
      observer.finished(done);
    },
    "an exchange with it": () => {
      const made = exchange(200);
      observer.began(made);
      observer.finished(made);
    },
    "another status each time": () => {
      const made = exchange(100 + (next++ % 500));
      observer.finished(made);
    },
    "a counter's child": () => count.inc(),
    "a histogram's child": () => duration.observe(0.004),
    "a counter by its labels": () => counter.inc(labels),
    "a new label set, table full": () => full.child({ key: next++ }),
  };
}
