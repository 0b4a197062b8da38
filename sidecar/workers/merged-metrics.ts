// What `/metrics` says of a sidecar with several processes: the first process's own metrics and those of all workers, the same name and labels
// added up. Counters of workers that ended are still in their arenas, so that no sum ever goes back.
import type { Metric, Registry } from "prom-client";
import PromRegistry from "prom-client/lib/registry.js";
import type { Metrics } from "../../core/metrics.ts";
import type { Cell, MetricArena } from "./metric-arena.ts";

/** One line of the exposition. */
interface Sample {
  /** The metric's name, or that with `_bucket`, `_sum` or `_count`. */
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  value: number;
}

/** One metric with its lines, by name and labels. */
interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly samples: Map<string, Sample>;
}

/** Gives `own` a registry that shows the arenas too. `refresh` is awaited before each scrape. */
export function mergeMetrics(own: Metrics, arenas: readonly MetricArena[], refresh: () => Promise<void>): Metrics {
  return { ...own, registry: new MergedRegistry(own.registry, arenas, refresh) };
}

class MergedRegistry extends PromRegistry {
  readonly #own: Registry;
  readonly #arenas: readonly MetricArena[];
  readonly #refresh: () => Promise<void>;

  constructor(own: Registry, arenas: readonly MetricArena[], refresh: () => Promise<void>) {
    super();
    this.#own = own;
    this.#arenas = arenas;
    this.#refresh = refresh;
  }

  override async metrics(): Promise<string> {
    await this.#refresh();
    const families = new Map<string, Family>();
    for (const { name, help, type, values } of await this.#own.getMetricsAsJSON()) {
      const family = familyOf(families, name, help, String(type));
      for (const value of values) add(family, (value as { metricName?: string }).metricName ?? name, present(value.labels), value.value);
    }
    for (const arena of this.#arenas) for (const cell of arena.cells()) addCell(families, cell);
    const shown = new PromRegistry();
    for (const { name, help, type, samples } of families.values()) {
      const get = async () => ({ name, help, type, aggregator: "sum", values: [...samples.values()] });
      // A registry takes whatever has `name` and `get()`; its types list only the library's own classes.
      shown.registerMetric({ name, get } as unknown as Metric);
    }
    return shown.metrics();
  }
}

function familyOf(families: Map<string, Family>, name: string, help: string, type: string): Family {
  let family = families.get(name);
  if (family === undefined) {
    family = { name, help, type, samples: new Map() };
    families.set(name, family);
  }
  return family;
}

function addCell(families: Map<string, Family>, { head, values }: Cell): void {
  const { name, help, kind, labels, bounds } = head;
  const family = familyOf(families, name, help, kind);
  if (kind !== "histogram") return add(family, name, labels, values[0] ?? 0);
  let below = 0;
  bounds.forEach((bound, index) => {
    below += values[index] ?? 0;
    add(family, `${name}_bucket`, { ...labels, le: bound }, below);
  });
  const count = values[bounds.length] ?? 0;
  add(family, `${name}_bucket`, { ...labels, le: "+Inf" }, count);
  add(family, `${name}_sum`, labels, values[bounds.length + 1] ?? 0);
  add(family, `${name}_count`, labels, count);
}

function add({ samples }: Family, metricName: string, labels: Sample["labels"], value: number): void {
  const key = `${metricName} ${JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)))}`;
  const sample = samples.get(key);
  if (sample === undefined) samples.set(key, { metricName, labels, value });
  else sample.value += value;
}

function present(labels: Readonly<Partial<Record<string, string | number>>>): Sample["labels"] {
  return Object.fromEntries(Object.entries(labels).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
}
