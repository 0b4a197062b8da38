// `npm test`, `npm run test:cluster` and `npm run test:skew`: runs the files of one suite, several at once, and prints TAP of one line for each, with all
// that a file wrote when it failed. tap's own runner is not used: it puts a recorder of coverage into every program that a test starts, which is then not
// the program that users run, and takes half as long again. Usage: main.ts SUITE [--jobs N] [FILE…]
import { relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { inLanes } from "./lanes.ts";
import { type FileResult, runFile, type RunningFile } from "./run-file.ts";
import { filesOf, REPOSITORY, SUITES } from "./suites.ts";

const { values, positionals } = parseArgs({ allowPositionals: true, options: { jobs: { type: "string" } } });
const [name = "", ...given] = positionals;
const suite = SUITES[name];
if (suite === undefined) throw new Error(`usage: main.ts ${Object.keys(SUITES).join("|")} [--jobs N] [FILE…]`);
const jobs = Number(values.jobs ?? suite.jobs);
if (!Number.isInteger(jobs) || jobs < 1) throw new Error(`--jobs ${values.jobs}: a number from 1 up is needed`);
const files = given.length === 0 ? filesOf(suite) : given.map((file) => relative(REPOSITORY, resolve(file)));

const sum = { pass: 0, fail: 0, skip: 0, todo: 0 };
const running = new Set<RunningFile>();
const failed: string[] = [];
let ended = 0;

/** Skipped and unfinished tests are shown of files that pass, too. */
function shown({ output, failure }: FileResult): string {
  const lines = output.split("\n");
  const kept = failure === null ? lines.filter((line) => /# (SKIP|TODO)/.test(line)) : lines;
  return kept.map((line) => `    ${line}\n`).join("");
}

function report(result: FileResult): void {
  const { file, tookMs, totals, failure } = result;
  ended += 1;
  for (const key of ["pass", "fail", "skip", "todo"] as const) sum[key] += totals?.[key] ?? 0;
  // A file can fail without a failed assertion: it crashed, or took too long.
  if (failure !== null && (totals?.fail ?? 0) === 0) sum.fail += 1;
  if (failure !== null) failed.push(file);
  const why = failure === null ? "" : `\n  ---\n  why: ${JSON.stringify(failure)}\n  ...`;
  process.stdout.write(`${shown(result)}${failure === null ? "ok" : "not ok"} ${ended} - ${file} # time=${Math.round(tookMs)}ms${why}\n`);
}

function killAll(): void {
  for (const file of running) file.kill();
}
process.on("exit", killAll);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(1));

process.stdout.write(`TAP version 14\n1..${files.length}\n`);
await inLanes(files, jobs, async (file) => {
  const started = runFile(file, suite.deadlineMs);
  running.add(started);
  report(await started.result);
  running.delete(started);
});
const counts = Object.entries(sum).filter(([, count]) => count > 0);
const total = counts.reduce((all, [, count]) => all + count, 0);
for (const file of failed) process.stdout.write(`# failed: ${file}\n`);
process.stdout.write(`# { total: ${total}, ${counts.map(([key, count]) => `${key}: ${count}`).join(", ")} }\n`);
process.stdout.write(`# time=${Math.round(performance.now())}ms\n`);
process.exitCode = failed.length === 0 && total > 0 ? 0 : 1;
