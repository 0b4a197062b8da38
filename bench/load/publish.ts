// `npm run bench -- --readme`: what was measured goes into the READMEs, between their markers, and its chart and rows beside them. Nobody copies numbers
// by hand.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { drawChart } from "./chart.ts";
import type { ScenarioReport } from "./report.ts";
import { type RunInfo, sayRun } from "./run-info.ts";
import { summaryOf } from "./summary.ts";
import { formatMarkdown, tableOf } from "./table.ts";

const BENCH = join(import.meta.dirname, "..");

/** Writes rows, chart and both READMEs. */
export async function publish(reports: readonly ScenarioReport[], run: RunInfo): Promise<void> {
  const rows = reports.flatMap(({ lines }) => lines.map(({ row }) => row));
  await writeFile(
    join(BENCH, "results", "benchmark.json"),
    `${JSON.stringify({ ...run, remarks: run.remarks.join(" "), rows }, null, 2)}\n`,
  );
  await writeFile(join(BENCH, "results", "benchmark.svg"), drawChart(reports, sayRun(run)));
  await rewrite(join(BENCH, "README.md"), detailsOf(reports, run));
  await rewrite(join(BENCH, "..", "README.md"), `${formatMarkdown(summaryOf(reports))}\n\n${sayRun(run).join(" ")}`);
}

/** `text` with `body` between the markers of `name`. Throws when it has none. */
export function between(text: string, body: string, name = "benchmark"): string {
  const [begin, end] = [`<!-- begin ${name} -->\n`, `<!-- end ${name} -->`];
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`there is no place for the ${name}: ${begin.trim()} and ${end} are missing`);
  return `${text.slice(0, from + begin.length)}${body}\n${text.slice(to)}`;
}

async function rewrite(path: string, body: string): Promise<void> {
  await writeFile(path, between(await readFile(path, "utf8"), body));
}

function detailsOf(reports: readonly ScenarioReport[], run: RunInfo): string {
  const tables = reports.map((report) => `### \`${report.scenario.name}\`: ${report.scenario.title}\n\n${formatMarkdown(tableOf(report))}`);
  return `${sayRun(run).join(" ")}\n\n![chart](results/benchmark.svg)\n\n${tables.join("\n\n")}`;
}
