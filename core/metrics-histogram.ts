// A histogram with fixed buckets whose children can be resolved ahead: prom-client's own hashes the labels on every observation. HOT PATH:
// `observe` is a linear scan over at most a few dozen bounds and three additions.
import type { MetricOptions } from "./metrics.ts";
import { type Children, createChildren, type Labels } from "./metrics-children.ts";

/** Upper bounds in seconds: 1 ms to 10 s. */
export const DEFAULT_BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** A histogram for one label set. */
export interface HistogramChild {
  observe(value: number): void;
}

/** Counts values by size. */
export interface Histogram {
  /** Counts `value` in the label set. For paths that are not hot. */
  observe(value: number): void;
  observe(labels: Labels, value: number): void;
  /** The one child of a label set. Every declared label must be given. */
  child(labels?: Labels): HistogramChild;
}

interface Sample {
  readonly labels: Record<string, string | number>;
  readonly value: number;
  readonly metricName: string;
}

/** What prom-client's Registry asks of a metric. */
export interface RegisteredMetric {
  readonly name: string;
  get(): Promise<{ name: string; help: string; type: "histogram"; values: Sample[]; aggregator: "sum" }>;
  reset(): void;
}

interface Cell extends HistogramChild {
  readonly labels: Record<string, string | number>;
  /** One per bound; not cumulated. */
  readonly counts: Float64Array;
  count: number;
  sum: number;
}

/** Makes a histogram and the object that shows it to a registry. Bounds that do not ascend raise `RangeError`. */
export function createHistogram(
  options: MetricOptions & { readonly buckets?: readonly number[] },
): Histogram & { readonly metric: RegisteredMetric } {
  const { name, help, labels: labelNames = [], buckets = DEFAULT_BUCKETS_SECONDS } = options;
  if (buckets.some((bound, index) => index > 0 && !(bound > (buckets[index - 1] ?? 0))))
    throw new RangeError(`${name}: buckets must ascend`);
  const bounds = Float64Array.from(buckets);
  let cells = makeCells();
  if (labelNames.length === 0) cells.child({});

  function makeCells(): Children<Cell> {
    return createChildren(name, labelNames, (labels) => createCell(labels, bounds));
  }
  function observe(labelsOrValue: Labels | number, value?: number): void {
    if (typeof labelsOrValue === "number") cells.child({}).observe(labelsOrValue);
    else cells.child(labelsOrValue).observe(value ?? 0);
  }
  const metric: RegisteredMetric = {
    name,
    get: async () => ({
      name,
      help,
      type: "histogram",
      aggregator: "sum",
      values: [...cells.all()].flatMap((cell) => samples(name, cell, buckets)),
    }),
    reset() {
      cells = makeCells();
    },
  };
  return { observe, child: (labels = {}) => cells.child(labels), metric };
}

function createCell(labels: Record<string, string | number>, bounds: Float64Array): Cell {
  const counts = new Float64Array(bounds.length);
  const cell: Cell = {
    labels,
    counts,
    count: 0,
    sum: 0,
    observe(value) {
      if (!(value < Number.POSITIVE_INFINITY)) return; // NaN would spoil the sum for good
      cell.count += 1;
      cell.sum += value;
      for (let index = 0; index < bounds.length; index++) {
        if (value <= (bounds[index] as number)) {
          counts[index] = (counts[index] as number) + 1;
          return;
        }
      }
    },
  };
  return cell;
}

function samples(name: string, { labels, counts, count, sum }: Cell, buckets: readonly number[]): Sample[] {
  let below = 0;
  const bucketSamples = buckets.map((bound, index) => {
    below += counts[index] ?? 0;
    return { metricName: `${name}_bucket`, labels: { ...labels, le: bound }, value: below };
  });
  return [
    ...bucketSamples,
    { metricName: `${name}_bucket`, labels: { ...labels, le: "+Inf" }, value: count },
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}
