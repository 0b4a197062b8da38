// The long differential fuzz of HTTP/1.1: `npm run fuzz -- [--seed N] [--exchanges N] [--from CASE] [--case N] [--through memory|mesh]`. Prints what was run
// and found; ends with 1 when anything differs that nothing explains. The same seed gives the same cases; --case runs one again, alone. `memory`, the default,
// holds the engines against one another in one process; `mesh` sends cases through two sidecars and mTLS on real sockets.
import { parseArgs } from "node:util";
import { createDifferential, type Differential, describeFailure, type Tally } from "../support/http1-fuzz/differential.ts";
import { generateCase } from "../support/http1-fuzz/generate.ts";
import { cutEverywhere } from "../support/http1-fuzz/cut-everywhere.ts";
import { isForMesh, MESH_HOSTS, startMeshRun } from "../support/http1-fuzz/mesh-run.ts";

/** Cases that run side by side. */
const BATCH = 200;
/** One batch in so many is a single case cut at every position instead. */
const CUT_EVERY = 6;
/** Failures after which it stops: they repeat. */
const MAX_FAILURES = 20;
const REPORT_MS = 15_000;

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    exchanges: { type: "string", default: "1000000" },
    from: { type: "string", default: "0" },
    case: { type: "string" },
    through: { type: "string", default: "memory" },
  },
});
const seed = wholeNumber("seed", values.seed);
const wanted = wholeNumber("exchanges", values.exchanges);

const from = wholeNumber("from", values.from);
// Connections break by the thousand, and the stacks of their errors would cost more than they tell.
if (values.case === undefined) Error.stackTraceLimit = 1;
const startedMs = performance.now();
let reportedMs = startedMs;
if (values.through !== "memory" && values.through !== "mesh")
  throw new RangeError(`--through must be memory or mesh, not ${values.through}`);
process.exit((values.through === "mesh" ? await fuzzMesh() : await fuzzEngines()) === 0 ? 0 : 1);

/** Gives the number of failures. */
async function fuzzEngines(): Promise<number> {
  const differential = await createDifferential();
  const { tally } = differential;
  if (values.case !== undefined) await differential.run([generateCase(seed, wholeNumber("case", values.case))]);
  else await runAll(differential);
  if (values.case !== undefined) sayFailures(tally, 0);
  differential.close();
  say(`seed ${seed}: ${summary(tally)}`);
  say(`refused, by row: ${counts(tally.refused)}`);
  say(`of those passed on by the compat engine: ${counts(tally.passedByCompat)}`);
  say(`known deviations of the compat engine: ${counts(tally.deviations)}`);
  return tally.failures.length;
}

async function runAll(differential: Differential): Promise<void> {
  const { tally } = differential;
  let said = 0;
  let number = from;
  for (let batch = 1; tally.exchanges < wanted && tally.failures.length < MAX_FAILURES; batch += 1) {
    if (batch % CUT_EVERY === 0) {
      const pieces = cutEverywhere(generateCase(seed, number));
      for (let at = 0; at < pieces.length; at += BATCH) await differential.run(pieces.slice(at, at + BATCH), { alone: true });
      number += 1;
    } else {
      await differential.run(Array.from({ length: BATCH }, () => generateCase(seed, number++)));
    }
    said = sayFailures(tally, said);
    if (performance.now() - reportedMs > REPORT_MS) {
      reportedMs = performance.now();
      say(`${summary(tally)}; next case ${number}`);
    }
  }
}
/** Gives the number of failures. */
async function fuzzMesh(): Promise<number> {
  const ends: Array<() => unknown> = [];
  const mesh = await startMeshRun({ teardown: (end) => void ends.push(end) });
  let exchanges = 0;
  let failures = 0;
  for (let number = from; exchanges < wanted && failures < MAX_FAILURES; number += BATCH) {
    const cases = Array.from({ length: BATCH }, (_, index) => generateCase(seed, number + index, MESH_HOSTS)).filter(isForMesh);
    for (const { fuzzCase, text, heard } of await mesh.run(cases)) {
      failures += 1;
      say(describeFailure({ reader: "splice", fuzzCase, text, heard: [heard] }));
    }
    exchanges += cases.reduce((sum, each) => sum + each.exchanges, 0);
  }
  for (const end of ends) await end();
  say(`seed ${seed}: ${exchanges} exchanges through two sidecars, ${failures} unexplained, ${seconds()} s`);
  return failures;
}

/** Says those behind the first `said`; gives how many are said then. */
function sayFailures({ failures }: Tally, said: number): number {
  for (const failure of failures.slice(said, MAX_FAILURES)) say(describeFailure(failure));
  return failures.length;
}

function summary({ cases, exchanges, compared, failures }: Tally): string {
  return `${cases} connections, ${exchanges} exchanges by splice, ${compared} of them also by compat and node:http, ${failures.length} unexplained, ${seconds()} s`;
}

function seconds(): number {
  return Math.round((performance.now() - startedMs) / 1000);
}

function counts(map: ReadonlyMap<string, number>): string {
  return (
    [...map]
      .sort(([, left], [, right]) => right - left)
      .map(([name, count]) => `${name} ${count}`)
      .join(", ") || "none"
  );
}

function wholeNumber(name: string, text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw new RangeError(`--${name} must be a whole number below 1000000000, not ${JSON.stringify(text)}`);
  return Number(text);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
