// The metrics of a worker: the same counters, gauges and histograms that stages know, but their numbers lie in a metric arena, where the first process
// reads them. Only what adds up over workers is declared here; what does not (build, certificate, start) is the first process's own.
//
// HOT PATH: a resolved child adds to a number in a typed array and allocates nothing.
import type { Logger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import { createChildren, type Labels } from "../../core/metrics-children.ts";
import { DEFAULT_BUCKETS_SECONDS, type Histogram } from "../../core/metrics-histogram.ts";
import type { CellHead, MetricArena } from "./metric-arena.ts";

/** Metrics in an arena. */
export interface WorkerMetrics extends Metrics {
  /** Asks what is only read when somebody looks. */
  refresh(): void;
}

/** Makes them. Where the arena has no room, what is counted is not seen, and the log says so once. */
export function createWorkerMetrics(arena: MetricArena, log: Logger): WorkerMetrics {
  const reads: (() => void)[] = [];
  let hasComplained = false;

  function numbers(head: CellHead): Float64Array {
    const values = arena.cell(head);
    if (values !== null) return values;
    if (!hasComplained)
      log.error({ metric: head.name }, "no room for more metrics, what is counted from now on with new labels is not seen");
    hasComplained = true;
    return new Float64Array(head.bounds.length + 2);
  }

  function children<Child>(
    kind: CellHead["kind"],
    { name, help, labels = [], buckets = [] }: Parameters<Metrics["histogram"]>[0],
    make: (values: Float64Array) => Child,
  ) {
    const cells = createChildren(name, labels, (own) => {
      const ordered = Object.fromEntries(labels.map((label) => [label, own[label] ?? ""]));
      return make(numbers({ kind, name, help, labels: ordered, bounds: kind === "histogram" ? buckets : [] }));
    });
    if (labels.length === 0) cells.child({});
    return cells;
  }

  const metrics: WorkerMetrics = {
    get registry(): never {
      throw new Error("the metrics of a worker are read by the first process");
    },
    counter(options) {
      const cells = children("counter", options, (values) => ({ inc: (by = 1) => void add(values, 0, by) }));
      return { inc: (labels = {}, by = 1) => cells.child(labels).inc(by), child: (labels = {}) => cells.child(labels) };
    },
    gauge({ read, ...options }) {
      const cells = children("gauge", options, (values) => ({
        set: (value: number) => void values.fill(value),
        inc: (by = 1) => void add(values, 0, by),
        dec: (by = 1) => void add(values, 0, -by),
      }));
      function set(labelsOrValue: Labels | number, value = 0): void {
        if (typeof labelsOrValue === "number") cells.child({}).set(labelsOrValue);
        else cells.child(labelsOrValue).set(value);
      }
      if (read !== undefined) reads.push(() => set(read()));
      // A forgotten label set stays in the arena, as nothing.
      return { set, child: (labels = {}) => cells.child(labels), remove: (labels) => cells.child(labels).set(0) };
    },
    histogram(options) {
      const bounds = options.buckets ?? DEFAULT_BUCKETS_SECONDS;
      const cells = children("histogram", { ...options, buckets: bounds }, (values) => ({ observe: observer(values, bounds) }));
      function observe(labelsOrValue: Labels | number, value = 0): void {
        if (typeof labelsOrValue === "number") cells.child({}).observe(labelsOrValue);
        else cells.child(labelsOrValue).observe(value);
      }
      return { observe, child: (labels = {}) => cells.child(labels) } satisfies Histogram;
    },
    refresh() {
      for (const read of reads) read();
    },
  };
  declareProcessMetrics();
  return metrics;

  /** Under the names of core/metrics-process.ts. CPU time goes on from where an earlier process of this worker ended. */
  function declareProcessMetrics(): void {
    const cpu = numbers({ kind: "counter", name: "process_cpu_seconds_total", help: "", labels: {}, bounds: [] });
    const earlierSeconds = cpu[0] ?? 0;
    reads.push(() => {
      const { user, system } = process.cpuUsage();
      cpu[0] = earlierSeconds + (user + system) / 1e6;
    });
    metrics.gauge({ name: "process_resident_memory_bytes", help: "", read: () => process.memoryUsage.rss() });
    metrics.gauge({ name: "nodejs_heap_size_used_bytes", help: "", read: () => process.memoryUsage().heapUsed });
  }
}

function observer(values: Float64Array, bounds: readonly number[]): (value: number) => void {
  const ascending = Float64Array.from(bounds);
  const count = bounds.length;
  return (value) => {
    if (!(value < Number.POSITIVE_INFINITY)) return; // NaN would spoil the sum for good
    add(values, count, 1);
    add(values, count + 1, value);
    for (let index = 0; index < count; index++) if (value <= (ascending[index] as number)) return add(values, index, 1);
  };
}

function add(values: Float64Array, index: number, by: number): void {
  values[index] = (values[index] as number) + by;
}
