// What is kept of a scenario and a proxy: medians over the rounds, in a flat row of fixed fields for whoever reads the JSON.
import type { Sample } from "./measure.ts";
import type { Memory } from "./process-cost.ts";
import { median } from "./rank.ts";

const KIB_PER_MIB = 1_024;

/** One line of results. `Out` is the hop next to the caller, `In` the one next to the origin. Without proxies the hops' numbers are 0. */
export interface Row {
  readonly scenario: string;
  readonly proxy: string;
  readonly version: string;
  readonly connections: number;
  readonly rps: number;
  readonly p50Ms: number | null;
  readonly p90Ms: number | null;
  readonly p99Ms: number | null;
  readonly p999Ms: number | null;
  /** CPU time per request, µs. */
  readonly cpuUsOut: number;
  readonly cpuUsIn: number;
  /** After the load, MiB. */
  readonly rssMbOut: number;
  readonly rssMbIn: number;
  readonly privateMbOut: number;
  readonly privateMbIn: number;
  /** In all rounds. */
  readonly errors: number;
}

/** Makes the row. `samples` has at least one. */
export function rowOf(options: {
  readonly scenario: string;
  readonly proxy: string;
  readonly version: string;
  readonly connections: number;
  readonly samples: readonly Sample[];
  readonly memory: readonly [Memory, Memory];
}): Row {
  const { samples, memory, ...names } = options;
  const middle = (pick: (sample: Sample) => number | null): number | null => {
    const numbers = samples.map(pick).filter((value) => value !== null);
    return numbers.length === 0 ? null : round(median(numbers), 3);
  };
  const sure = (pick: (sample: Sample) => number): number => round(median(samples.map(pick)), 2);
  return {
    ...names,
    rps: sure(({ perSecond }) => perSecond),
    p50Ms: middle(({ p50Ms }) => p50Ms),
    p90Ms: middle(({ p90Ms }) => p90Ms),
    p99Ms: middle(({ p99Ms }) => p99Ms),
    p999Ms: middle(({ p999Ms }) => p999Ms),
    cpuUsOut: sure(({ cpuUs }) => cpuUs[0]),
    cpuUsIn: sure(({ cpuUs }) => cpuUs[1]),
    rssMbOut: round(memory[0].rssKiB / KIB_PER_MIB, 1),
    rssMbIn: round(memory[1].rssKiB / KIB_PER_MIB, 1),
    privateMbOut: round(memory[0].privateKiB / KIB_PER_MIB, 1),
    privateMbIn: round(memory[1].privateKiB / KIB_PER_MIB, 1),
    errors: samples.reduce((sum, { failed }) => sum + failed, 0),
  };
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
