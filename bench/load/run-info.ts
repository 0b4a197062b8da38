// When, where and with what a benchmark ran: what makes its numbers comparable with others, or not.
import { cpus, release } from "node:os";
import { driverFor } from "./generate.ts";
import { NO_PROXY } from "./proxies.ts";
import type { ScenarioReport } from "./report.ts";

/** What stands beside the results. */
export interface RunInfo {
  /** ISO time of its end. */
  readonly at: string;
  readonly seconds: number;
  readonly rounds: number;
  /** The load generator of the closed loads. */
  readonly driver: string;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly kernel: string; readonly node: string };
  /** By name of the proxy. */
  readonly versions: Readonly<Record<string, string>>;
  /** A sentence for each proxy that is missing in a table, and for what makes numbers mean less. */
  readonly remarks: readonly string[];
}

/** Describes the run that gave `reports`. */
export function describeRun(reports: readonly ScenarioReport[], { seconds, rounds }: Pick<RunInfo, "seconds" | "rounds">): RunInfo {
  const rows = reports.flatMap(({ lines }) => lines.map(({ row }) => row));
  return {
    at: new Date().toISOString(),
    seconds,
    rounds,
    driver: driversOf(reports),
    machine: { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, kernel: release(), node: process.version },
    versions: Object.fromEntries(rows.map(({ proxy, version }) => [proxy, version])),
    remarks: reports.flatMap(({ scenario, remarks }) => remarks.map((sentence) => `${scenario.name}: ${sentence}.`)),
  };
}

function driversOf(reports: readonly ScenarioReport[]): string {
  const names = reports
    .filter(({ scenario }) => scenario.load === "closed")
    .map(({ scenario }) => (scenario.traffic === "grpc" ? "h2load (gRPC)" : driverFor(scenario).name));
  return [...new Set(names)].join(" and ") || "our own";
}

/** In a few sentences. */
export function sayRun({ at, seconds, rounds, driver, machine, versions, remarks }: RunInfo): readonly string[] {
  const named = Object.entries(versions)
    .filter(([name]) => name !== NO_PROXY)
    .map(([name, version]) => `${name} ${version}`);
  return [
    `Measured ${at.slice(0, 16).replace("T", " ")} UTC: ${rounds} rounds of ${seconds} s each in turns; load by ${driver}.`,
    `${machine.cpu}, ${machine.cores} cores shared with the load generator and the origin; Linux ${machine.kernel}, Node ${machine.node}.`,
    `Versions: ${named.join(", ")}.`,
    ...remarks,
  ];
}
