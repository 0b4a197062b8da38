// The results as tables: for a terminal and for Markdown. A table is rows of cells, the first row being its head.
import { REFERENCE } from "./proxies.ts";
import type { Line, ScenarioReport } from "./report.ts";
import type { Scenario } from "./scenarios.ts";

/** Rows of cells. */
export type Table = readonly (readonly string[])[];

/** A column: its title, and its cell for a line. */
type Column = readonly [title: string, cell: (line: Line) => string];

/** The table of a scenario. */
export function tableOf({ scenario, lines }: ScenarioReport): Table {
  const columns = columnsFor(scenario);
  return [columns.map(([title]) => title), ...lines.map((line) => columns.map(([, cell]) => cell(line)))];
}

/** For a terminal: aligned, with the scenario above and the remarks below. */
export function formatReport(report: ScenarioReport): string {
  const { scenario, remarks } = report;
  return `\n${scenario.name}: ${scenario.title}\n${formatColumns(tableOf(report))}${remarks.map((sentence) => `${sentence}\n`).join("")}`;
}

/** Markdown. */
export function formatMarkdown(table: Table): string {
  const [head = [], ...rows] = table;
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_title, column) => (column === 0 ? "---" : "---:"))), ...rows.map(line)].join("\n");
}

function formatColumns(table: Table): string {
  const widths = (table[0] ?? []).map((_title, column) => Math.max(...table.map((row) => (row[column] ?? "").length)));
  const pad = (cell: string, column: number) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0));
  return `${table.map((row) => row.map(pad).join("  ").trimEnd()).join("\n")}\n`;
}

function columnsFor(scenario: Scenario): readonly Column[] {
  const isBulk = scenario.load === "bulk";
  const cost = isBulk ? "CPU ms/GB" : "CPU µs/req";
  return [
    ["", ({ row }) => row.proxy],
    [`${cost} out`, ({ row }) => row.cpuUsOut.toFixed(1)],
    ["in", ({ row }) => row.cpuUsIn.toFixed(1)],
    [`of ${REFERENCE}: out`, ({ ratios }) => times(ratios?.[0])],
    ["in", ({ ratios }) => times(ratios?.[1])],
    ...(isBulk ? [] : latencyColumns(scenario)),
    [isBulk ? "MB/s" : "req/s", ({ row }) => row.rps.toFixed(0)],
    ["RSS MB", ({ row }) => `${row.rssMbOut.toFixed(0)} / ${row.rssMbIn.toFixed(0)}`],
    ["private MB", ({ row }) => `${row.privateMbOut.toFixed(0)} / ${row.privateMbIn.toFixed(0)}`],
    ["errors", ({ row }) => String(row.errors)],
  ];
}

function latencyColumns({ load }: Scenario): readonly Column[] {
  const addedColumns: readonly Column[] = [
    ["added: p50 ms", ({ added }) => ms(added?.[0])],
    ["p90", ({ added }) => ms(added?.[1])],
    ["p99", ({ added }) => ms(added?.[2])],
    ["p99.9", ({ added }) => ms(added?.[3])],
  ];
  return [
    ...(load === "constant" ? addedColumns : []),
    ["p50 ms", ({ row }) => ms(row.p50Ms)],
    ["p90", ({ row }) => ms(row.p90Ms)],
    ["p99", ({ row }) => ms(row.p99Ms)],
    ["p99.9", ({ row }) => ms(row.p999Ms)],
  ];
}

function times(ratio: number | undefined): string {
  return ratio === undefined ? "-" : `${ratio.toFixed(2)}×`;
}

function ms(value: number | null | undefined): string {
  return value === null || value === undefined ? "-" : value.toFixed(2);
}
