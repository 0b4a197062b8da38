// `npm test`, `npm run test:cluster` and `npm run test:skew`: runs the files of one suite, several at once, and prints TAP of one line for each, with all
// that a file wrote when it failed. tap's own runner is not used: it puts a recorder of coverage into every program that a test starts, which is then not
// the program that users run, and takes half as long again. A file that failed beside others has to hold alone, and is told. Usage: main.ts SUITE [--jobs N] [FILE…]
import { relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { inLanes } from "./lanes.ts";
import { type FileResult, runFile, type RunningFile } from "./run-file.ts";
import { filesOf, REPOSITORY, SUITES } from "./suites.ts";

const { values, positionals } = parseArgs({ allowPositionals: true, options: { jobs: { type: "string" } } });
const [name = "", ...given] = positionals;
const suite = SUITES[name];
if (suite === undefined) throw new Error(`usage: main.ts ${Object.keys(SUITES).join("|")} [--jobs N] [FILE…]`);
const { deadlineMs } = suite;
const jobs = Number(values.jobs ?? suite.jobs);
if (!Number.isInteger(jobs) || jobs < 1) throw new Error(`--jobs ${values.jobs}: a number from 1 up is needed`);
const files = given.length === 0 ? filesOf(suite) : given.map((file) => relative(REPOSITORY, resolve(file)));

/** As many files that failed beside others are run again alone, in the end: a test that measures moments says nothing while it waits for a CPU. More is no accident. */
const MAX_AGAIN = 3;

const sum = { pass: 0, fail: 0, skip: 0, todo: 0 };
const running = new Set<RunningFile>();
const failed: string[] = [];
const suspects: FileResult[] = [];
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

/** So that nobody takes it for a result. */
function commented(output: string): string {
  return output.replaceAll(/^/gm, "#     ").concat("\n");
}

async function run(file: string): Promise<FileResult> {
  const started = runFile(file, deadlineMs);
  running.add(started);
  const result = await started.result;
  running.delete(started);
  return result;
}

function killAll(): void {
  for (const file of running) file.kill();
}
process.on("exit", killAll);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(1));

process.stdout.write(`TAP version 14\n1..${files.length}\n`);
await inLanes(files, jobs, async (file) => {
  const result = await run(file);
  if (result.failure === null) return report(result);
  suspects.push(result);
  process.stdout.write(`# ${file} has failed: ${result.failure}\n`);
});
for (const first of suspects) {
  const isAccident = files.length > 1 && suspects.length <= MAX_AGAIN;
  const again = isAccident ? await run(first.file) : first;
  if (again.failure === null) process.stdout.write(`# held when it was run again alone; before, it said:\n${commented(first.output)}`);
  report(again);
}
const counts = Object.entries(sum).filter(([, count]) => count > 0);
const total = counts.reduce((all, [, count]) => all + count, 0);
for (const file of failed) process.stdout.write(`# failed: ${file}\n`);
process.stdout.write(`# { total: ${total}, ${counts.map(([key, count]) => `${key}: ${count}`).join(", ")} }\n`);
process.stdout.write(`# time=${Math.round(performance.now())}ms\n`);
process.exitCode = failed.length === 0 && total > 0 ? 0 : 1;
