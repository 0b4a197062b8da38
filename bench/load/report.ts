// From outcomes to results: rows for JSON, and what is compared within the same rounds: CPU with the reference, latency at a constant rate with no proxy.
import type { LoadResult } from "./generate.ts";
import type { Outcome, Sample } from "./measure.ts";
import { NO_PROXY, REFERENCE } from "./proxies.ts";
import { median } from "./rank.ts";
import { type Row, rowOf } from "./row.ts";
import type { Scenario } from "./scenarios.ts";

/** Beyond this p99 of a constant load without proxies, something else takes the processors. */
const QUIET_P99_MS = 3;

/** Latencies in ms. */
export type Latencies = readonly [p50: number, p90: number, p99: number, p999: number];

/** A row, and how it compares: each number is the median of what the rounds say. */
export interface Line {
  readonly row: Row;
  /** CPU of each hop over that of the reference's; null when that was not measured, and without proxies. */
  readonly ratios: readonly [out: number, in_: number] | null;
  /** Latency beyond that of no proxy; null when the load was not constant, and without proxies. */
  readonly added: Latencies | null;
}

/** A scenario's results. */
export interface ScenarioReport {
  readonly scenario: Scenario;
  readonly lines: readonly Line[];
  /** One sentence for each proxy that is not in the table, and for what makes its numbers mean less. */
  readonly remarks: readonly string[];
  /** How many of them failed, although they are installed. */
  readonly failed: number;
}

/** Makes the report. `missing` says who did not take part. */
export function reportOf(
  scenario: Scenario,
  outcomes: readonly Outcome[],
  versions: ReadonlyMap<string, string>,
  missing: readonly string[],
): ScenarioReport {
  const measured = outcomes.filter((outcome) => outcome.kind === "measured");
  const failed = outcomes.filter((outcome) => outcome.kind === "failed");
  const samplesOf = (name: string) => measured.find(({ proxy }) => proxy.name === name)?.samples ?? null;
  const lines = measured.map(({ proxy, samples, memory }): Line => {
    const version = versions.get(proxy.name) ?? "";
    const row = rowOf({ scenario: scenario.name, proxy: proxy.name, version, connections: scenario.connections, samples, memory });
    if (proxy.start === null) return { row, ratios: null, added: null };
    return {
      row,
      ratios: ratios(samples, samplesOf(REFERENCE)),
      added: scenario.load === "constant" ? added(samples, samplesOf(NO_PROXY)) : null,
    };
  });
  const sentences = failed.map(({ proxy, message }) => `${proxy.name} failed: ${message.trim()}`);
  return { scenario, lines, remarks: [...missing, ...sentences, ...disturbance(scenario, lines)], failed: failed.length };
}

/** Latency that is there without any proxy is the machine's: beyond this the proxies' says little. */
function disturbance({ load }: Scenario, lines: readonly Line[]): readonly string[] {
  const p99Ms = lines.find(({ row }) => row.proxy === NO_PROXY)?.row.p99Ms ?? 0;
  if (load !== "constant" || p99Ms <= QUIET_P99_MS) return [];
  return [`the machine was busy with other things: p99 was ${p99Ms.toFixed(1)} ms without any proxy, so do not trust the latencies added`];
}

/** Whether all that was tried was measured, without an error. */
export function isClean({ lines, failed }: ScenarioReport): boolean {
  return failed === 0 && lines.every(({ row }) => row.errors === 0);
}

function ratios(samples: readonly Sample[], reference: readonly Sample[] | null): Line["ratios"] {
  if (reference === null) return null;
  const ratio = (hop: 0 | 1) => median(samples.map((sample, round) => sample.cpuUs[hop] / (reference[round]?.cpuUs[hop] ?? Number.NaN)));
  return [ratio(0), ratio(1)];
}

function added(samples: readonly Sample[], without: readonly Sample[] | null): Latencies | null {
  if (without === null) return null;
  const more = (pick: (result: LoadResult) => number | null) =>
    median(samples.map((sample, round) => (pick(sample) ?? Number.NaN) - (pickFrom(without[round], pick) ?? Number.NaN)));
  return [more(({ p50Ms }) => p50Ms), more(({ p90Ms }) => p90Ms), more(({ p99Ms }) => p99Ms), more(({ p999Ms }) => p999Ms)];
}

function pickFrom(sample: Sample | undefined, pick: (result: LoadResult) => number | null): number | null {
  return sample === undefined ? null : pick(sample);
}
