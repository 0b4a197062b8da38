// `npm run bench`: the two-hop path of the mesh under load, next to other proxies doing the same work. The boot story: choose, start the origin, measure
// scenario by scenario, print, write. Everything started ends with it, also on Ctrl-C.
import { rmSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { drawChart } from "./chart.ts";
import { callsImpossible } from "./grpc-calls.ts";
import { measureScenario } from "./measure.ts";
import { startOrigin } from "./nginx.ts";
import { type BenchOptions, parseOptions } from "./options.ts";
import { createProcesses } from "./processes.ts";
import { allProxies, NO_PROXY, type ProxyKind } from "./proxies.ts";
import { publish } from "./publish.ts";
import { isClean, reportOf, type ScenarioReport } from "./report.ts";
import { describeRun, sayRun } from "./run-info.ts";
import type { Scenario } from "./scenarios.ts";
import { formatReport } from "./table.ts";

const DEFAULT_CHART = join(import.meta.dirname, "..", "results", "last.svg");
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Runs the benchmark; false when an argument is wrong, something could not be measured although it is installed, or a request failed. */
export async function runLoad(words: readonly string[]): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), "remora-bench-"));
  const clear = () => rmSync(folder, { recursive: true, force: true });
  process.on("exit", clear);
  for (const signal of SIGNALS) process.on(signal, () => process.exit(128 + constants.signals[signal])); // what listens to "exit" ends the children
  const proxies = allProxies(folder);
  const options = parseOptions(
    words,
    proxies.map(({ name }) => name),
  );
  if ("length" in options) {
    for (const problem of options) note(problem);
    return false;
  }
  try {
    for (const file of [options.jsonFile, options.svgFile]) if (file !== null) await writeFile(file, ""); // rather now than after all the measuring
    const reports = await measureAll(options, proxies, folder);
    await writeResults(options, reports);
    return reports.every(isClean);
  } catch (error) {
    note((error as Error).message);
    return false;
  }
}

async function measureAll(options: BenchOptions, proxies: readonly ProxyKind[], folder: string): Promise<readonly ScenarioReport[]> {
  const { seconds, rounds } = options;
  const chosen = options.proxies.length === 0 ? proxies : proxies.filter(({ name }) => options.proxies.includes(name));
  const versions = new Map(proxies.flatMap(({ name, version }) => named(name, version())));
  const reports: ScenarioReport[] = [];
  const processes = createProcesses();
  try {
    const origin = await startOrigin(folder, processes.start);
    for (const scenario of options.scenarios) {
      const impossible = isByH2load(scenario) ? callsImpossible() : null;
      const missing: string[] = impossible === null ? [] : [impossible];
      const asked = options.proxies.length > 0 ? chosen : chosen.filter(({ only }) => only === null || only === scenario.name);
      const taking = takingPart(impossible === null ? asked : [], proxies, scenario).filter((proxy) => {
        const why = versions.has(proxy.name) ? proxy.unfit(scenario) : `not installed: ${proxy.install}`;
        if (why !== null) missing.push(`${proxy.name} is missing: ${why}`);
        return why === null;
      });
      const originPort = scenario.traffic === "grpc" ? origin.grpcPort : origin.port;
      const outcomes = await measureScenario({ scenario, proxies: taking, originPort, folder, seconds, rounds, note });
      const report = reportOf(scenario, outcomes, versions, missing);
      process.stdout.write(formatReport(report));
      reports.push(report);
    }
  } finally {
    await processes.close();
  }
  return reports;
}

async function writeResults(options: BenchOptions, reports: readonly ScenarioReport[]): Promise<void> {
  const run = describeRun(reports, options);
  await writeFile(options.svgFile ?? DEFAULT_CHART, drawChart(reports, sayRun(run)));
  note(`chart: ${options.svgFile ?? DEFAULT_CHART}`);
  const rows = reports.flatMap(({ lines }) => lines.map(({ row }) => row));
  if (options.jsonFile !== null) await writeFile(options.jsonFile, `${JSON.stringify(rows, null, 2)}\n`);
  if (options.readme) await publish(reports, run);
}

function named(name: string, version: string | null): readonly (readonly [string, string])[] {
  return version === null ? [] : [[name, version]];
}

function isByH2load({ traffic, load }: Scenario): boolean {
  return traffic === "grpc" && load === "closed";
}

/** Latency at a constant rate is compared with that of no proxy, so that one is always measured too. */
function takingPart(chosen: readonly ProxyKind[], all: readonly ProxyKind[], scenario: Scenario): readonly ProxyKind[] {
  const isThere = scenario.load !== "constant" || chosen.some(({ name }) => name === NO_PROXY);
  return isThere ? chosen : [...all.filter(({ name }) => name === NO_PROXY), ...chosen];
}

function note(text: string): void {
  process.stderr.write(`${text}\n`);
}
