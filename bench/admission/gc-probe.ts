// Loaded into the measured process (`--import`) where the benchmark is asked for `--gc`: adds up the pauses that the garbage collector makes, and writes
// the sums on SIGUSR2 into the file that GC_PROBE_FILE names. Nothing of it is there otherwise.
import { writeFileSync } from "node:fs";
import { constants, PerformanceObserver } from "node:perf_hooks";

/** Pauses of one kind since the last SIGUSR2, in ms. */
export interface Pauses {
  readonly count: number;
  readonly sumMs: number;
  readonly worstMs: number;
}

/** What is written. */
export interface GcSums {
  /** Of the young generation. */
  readonly minor: Pauses;
  /** Everything else: steps of marking, and the whole heap. */
  readonly major: Pauses;
}

/** Name of the variable. */
export const GC_PROBE_FILE = "GC_PROBE_FILE";

function probe(file: string): void {
  let sums = nothing();
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { kind } = (entry as { readonly detail?: { readonly kind?: number } }).detail ?? {};
      const isMinor = kind === constants.NODE_PERFORMANCE_GC_MINOR;
      sums = isMinor ? { ...sums, minor: plus(sums.minor, entry.duration) } : { ...sums, major: plus(sums.major, entry.duration) };
    }
  }).observe({ entryTypes: ["gc"] });
  process.on("SIGUSR2", () => {
    writeFileSync(file, JSON.stringify(sums));
    sums = nothing();
  });
}

function nothing(): GcSums {
  const none = { count: 0, sumMs: 0, worstMs: 0 };
  return { minor: none, major: none };
}

function plus({ count, sumMs, worstMs }: Pauses, ms: number): Pauses {
  return { count: count + 1, sumMs: sumMs + ms, worstMs: Math.max(worstMs, ms) };
}

const file = process.env[GC_PROBE_FILE];
if (file !== undefined) probe(file);
