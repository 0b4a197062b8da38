// What the Kubernetes source says of itself at a scrape: how much it holds, how old that is, and how often it had to list anew.
import type { Metrics } from "../core/metrics.ts";
import type { WatchedList } from "../core/kubernetes/watched-list.ts";
import type { WatchedKind } from "./kubernetes-api.ts";

/** The source's counters. */
export interface SourceMetrics {
  listed(kind: WatchedKind): void;
  failed(kind: WatchedKind): void;
  /** Reads these lists at each scrape. */
  observe(lists: Readonly<Record<WatchedKind, Pick<WatchedList<unknown>, "size" | "staleMs">>>): void;
}

/** Registers them; without `metrics` nothing is counted. */
export function createSourceMetrics(metrics: Metrics | null): SourceMetrics {
  if (metrics === null) return { listed: () => {}, failed: () => {}, observe: () => {} };
  const lists = metrics.counter({
    name: "remora_kubernetes_lists_total",
    help: "Lists of the Kubernetes API begun, by kind; more than one means that a watch could not be resumed.",
    labels: ["kind"],
  });
  const failures = metrics.counter({
    name: "remora_kubernetes_failures_total",
    help: "Lists and watches of the Kubernetes API that failed, by kind.",
    labels: ["kind"],
  });
  return {
    listed: (kind) => lists.inc({ kind }),
    failed: (kind) => failures.inc({ kind }),
    observe(followed) {
      const entries = Object.entries(followed);
      for (const [kind, list] of entries) {
        metrics.gauge({
          name: `remora_kubernetes_${kind}`,
          help: `Objects of the kind ${kind} that the registry knows.`,
          read: () => list.size,
        });
      }
      metrics.gauge({
        name: "remora_kubernetes_stale_seconds",
        help: "Time since the registry last was in touch with the Kubernetes API server; 0 while every watch stands.",
        read: () => Math.max(...entries.map(([, list]) => list.staleMs())) / 1000,
      });
    },
  };
}
