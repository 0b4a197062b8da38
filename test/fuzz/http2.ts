// The long differential fuzz of HTTP/2: `npm run fuzz:http2 -- [--seed N] [--exchanges N] [--from CASE] [--case N]`. Prints what was run and found; ends with 1 when
// anything differs that nothing explains. The same seed gives the same cases; --case runs one again, alone.
import { parseArgs } from "node:util";
import { cutEverywhere } from "../support/http2-fuzz/cut-everywhere.ts";
import { createDifferential, type Differential, describeFailure, type Tally } from "../support/http2-fuzz/differential.ts";
import { generateCase } from "../support/http2-fuzz/generate.ts";

/** Cases that run side by side. */
const BATCH = 100;
/** One batch in so many is a single case cut at every position instead. */
const CUT_EVERY = 8;
/** Failures after which it stops: they repeat. */
const MAX_FAILURES = 20;
const REPORT_MS = 15_000;

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    exchanges: { type: "string", default: "100000" },
    from: { type: "string", default: "0" },
    case: { type: "string" },
  },
});
const seed = wholeNumber("seed", values.seed);
const wanted = wholeNumber("exchanges", values.exchanges);
const startedMs = performance.now();
// Connections break by the thousand, and the stacks of their errors would cost more than they tell.
if (values.case === undefined) Error.stackTraceLimit = 1;

const differential = await createDifferential();
const { tally } = differential;
if (values.case !== undefined) await differential.run([generateCase(seed, wholeNumber("case", values.case))]);
else await runAll(differential, wholeNumber("from", values.from));
await differential.close();
for (const failure of tally.failures.slice(0, MAX_FAILURES)) say(describeFailure(failure));
say(`seed ${seed}: ${summary(tally)}`);
say(`changed, by the change: ${counts(tally.mutated)}`);
say(`refused: ${counts(tally.refusals)}`);
say(`differences that a row explains: ${counts(tally.deviations)}`);
process.exit(tally.failures.length === 0 ? 0 : 1);

async function runAll(differential: Differential, from: number): Promise<void> {
  let number = from;
  let reportedMs = startedMs;
  for (let batch = 1; tally.exchanges < wanted && tally.failures.length < MAX_FAILURES; batch += 1) {
    if (batch % CUT_EVERY === 0) {
      const copies = cutEverywhere(seed, number++);
      for (let at = 0; at < copies.length; at += BATCH) await differential.run(copies.slice(at, at + BATCH), { alone: true });
    } else await differential.run(Array.from({ length: BATCH }, () => generateCase(seed, number++)));
    if (performance.now() - reportedMs < REPORT_MS) continue;
    reportedMs = performance.now();
    say(`${summary(tally)}; next case ${number}`);
  }
}

function summary({ cases, exchanges, compared, failures }: Tally): string {
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  return `${cases} connections, ${exchanges} exchanges by splice, ${compared} of them also by compat, ${failures.length} unexplained, ${seconds} s`;
}

function counts(map: ReadonlyMap<string, number>): string {
  const sorted = [...map].sort(([, left], [, right]) => right - left);
  return sorted.map(([name, count]) => `${name} ${count}`).join(", ") || "none";
}

function wholeNumber(name: string, text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw new RangeError(`--${name} must be a whole number below 1000000000, not ${JSON.stringify(text)}`);
  return Number(text);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
