// From outcomes to what is read: rows for JSON, and for each scenario a table with every proxy's CPU next to the reference's in the same rounds.
import type { Outcome } from "./measure.ts";
import { REFERENCE } from "./proxies.ts";
import { median, type Row, rowOf } from "./row.ts";
import type { Scenario } from "./scenarios.ts";
import { formatColumns } from "./table.ts";

/** A row, and its cost relative to the reference: null when that was not measured. */
export interface Line {
  readonly row: Row;
  /** CPU of each hop over that of the reference's, the median of each round's. */
  readonly ratioOut: number | null;
  readonly ratioIn: number | null;
}

/** A scenario's results. */
export interface ScenarioReport {
  readonly scenario: Scenario;
  readonly lines: readonly Line[];
  /** One sentence for each proxy that is not in the table. */
  readonly missing: readonly string[];
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
  const reference = measured.find(({ proxy }) => proxy.name === REFERENCE)?.samples ?? null;
  const lines = measured.map(({ proxy, samples, memory }): Line => {
    const ratio = (hop: 0 | 1): number | null => {
      if (reference === null || proxy.start === null) return null;
      return median(samples.map((sample, round) => sample.cpuUs[hop] / (reference[round]?.cpuUs[hop] ?? Number.NaN)));
    };
    const version = versions.get(proxy.name) ?? "";
    const row = rowOf({ scenario: scenario.name, proxy: proxy.name, version, connections: scenario.connections, samples, memory });
    return { row, ratioOut: ratio(0), ratioIn: ratio(1) };
  });
  return {
    scenario,
    lines,
    missing: [...missing, ...failed.map(({ proxy, message }) => `${proxy.name} failed: ${message}`)],
    failed: failed.length,
  };
}

/** The table, with a title above and who is missing below. */
export function formatReport({ scenario, lines, missing }: ScenarioReport): string {
  const head = [
    "",
    "CPU µs/req out",
    "in",
    `of ${REFERENCE}: out`,
    "in",
    "req/s",
    "p50 ms",
    "p90",
    "p99",
    "p99.9",
    "RSS MB",
    "private MB",
    "errors",
  ];
  const rows = lines.map(({ row, ratioOut, ratioIn }) => [
    row.proxy,
    ...[row.cpuUsOut, row.cpuUsIn].map((cost) => cost.toFixed(1)),
    ...[ratioOut, ratioIn].map((ratio) => (ratio === null ? "-" : `${ratio.toFixed(2)}×`)),
    row.rps.toFixed(0),
    ...[row.p50Ms, row.p90Ms, row.p99Ms, row.p999Ms].map((ms) => (ms === null ? "-" : ms.toFixed(2))),
    `${row.rssMbOut.toFixed(0)} / ${row.rssMbIn.toFixed(0)}`,
    `${row.privateMbOut.toFixed(0)} / ${row.privateMbIn.toFixed(0)}`,
    String(row.errors),
  ]);
  return `\n${scenario.name}: ${scenario.title}\n${formatColumns([head, ...rows])}${missing.map((sentence) => `${sentence}\n`).join("")}`;
}
