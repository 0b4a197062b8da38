// The few numbers that the project's README shows: a line for each, a column for each proxy.
import { isVariant, NO_PROXY } from "./proxies.ts";
import type { Line, ScenarioReport } from "./report.ts";
import type { Scenario } from "./scenarios.ts";
import type { Table } from "./table.ts";

/** What stands in the place of what was not measured. */
const NOTHING = "-";

/** The table, its head first. Costs are the mean of the two hops. Remora with other settings than usual is left out. */
export function summaryOf(reports: readonly ScenarioReport[]): Table {
  const names = [...new Set(reports.flatMap(({ lines }) => lines.map(({ row }) => row.proxy)))].filter(
    (name) => name !== NO_PROXY && !isVariant(name),
  );
  const rowOf = ({ lines }: ScenarioReport, title: string, cell: (line: Line) => string): readonly string[] => [
    title,
    ...names.map((name) => {
      const line = lines.find(({ row }) => row.proxy === name);
      return line === undefined ? NOTHING : cell(line);
    }),
  ];
  const rows = reports.map((report) => {
    const { scenario } = report;
    if (scenario.load === "constant") return rowOf(report, `${scenario.title}: ms added, p50 / p90 / p99`, addedCell);
    return rowOf(report, `${scenario.title}: CPU ${unitOf(scenario)} and hop`, costCell);
  });
  const loaded = reports.find(({ scenario }) => scenario.name === "get-1k-c32");
  const memory = loaded === undefined ? [] : [rowOf(loaded, "private memory of a hop after 32 connections, MB", memoryCell)];
  return [["", ...names], ...rows, ...memory];
}

function unitOf({ load }: Scenario): string {
  return load === "bulk" ? "ms per GB" : "µs per request";
}

function costCell({ row }: Line): string {
  return ((row.cpuUsOut + row.cpuUsIn) / 2).toFixed(0);
}

function addedCell({ added }: Line): string {
  return added === null
    ? NOTHING
    : added
        .slice(0, 3)
        .map((value) => value.toFixed(2))
        .join(" / ");
}

function memoryCell({ row }: Line): string {
  return ((row.privateMbOut + row.privateMbIn) / 2).toFixed(0);
}
