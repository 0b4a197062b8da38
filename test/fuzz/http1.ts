// The long differential fuzz of HTTP/1.1: `npm run fuzz -- [--seed N] [--exchanges N] [--from CASE] [--case N]`. Prints what was run and found; ends with 1
// when anything differs that nothing explains. The same seed gives the same cases; --case runs one again, alone.
import { parseArgs } from "node:util";
import { createDifferential, describeFailure, type Tally } from "../support/http1-fuzz/differential.ts";
import { generateCase } from "../support/http1-fuzz/generate.ts";
import { cutEverywhere } from "../support/http1-fuzz/cut-everywhere.ts";

/** Cases that run side by side. */
const BATCH = 100;
/** One batch in so many is a single case cut at every position instead. */
const CUT_EVERY = 25;
/** Failures after which it stops: they repeat. */
const MAX_FAILURES = 20;
const REPORT_MS = 15_000;

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    exchanges: { type: "string", default: "1000000" },
    from: { type: "string", default: "0" },
    case: { type: "string" },
  },
});
const seed = wholeNumber("seed", values.seed);
const wanted = wholeNumber("exchanges", values.exchanges);

// Connections break by the thousand, and the stacks of their errors would cost more than they tell.
if (values.case === undefined) Error.stackTraceLimit = 1;

const differential = await createDifferential();
const { tally } = differential;
const startedMs = performance.now();
let reportedMs = startedMs;

if (values.case !== undefined) {
  await differential.run([generateCase(seed, wholeNumber("case", values.case))]);
} else {
  let number = wholeNumber("from", values.from);
  for (let batch = 1; tally.exchanges < wanted && tally.failures.length < MAX_FAILURES; batch += 1) {
    if (batch % CUT_EVERY === 0) {
      const pieces = cutEverywhere(generateCase(seed, number));
      for (let at = 0; at < pieces.length; at += BATCH) await differential.run(pieces.slice(at, at + BATCH), { alone: true });
      number += 1;
    } else {
      await differential.run(Array.from({ length: BATCH }, () => generateCase(seed, number++)));
    }
    if (performance.now() - reportedMs > REPORT_MS) {
      reportedMs = performance.now();
      say(`${summary(tally)}; next case ${number}`);
    }
  }
}
differential.close();
for (const failure of tally.failures.slice(0, MAX_FAILURES)) say(describeFailure(failure));
say(`seed ${seed}: ${summary(tally)}`);
say(`refused, by row: ${counts(tally.refused)}`);
say(`of those passed on by the compat engine: ${counts(tally.passedByCompat)}`);
say(`known deviations of the compat engine: ${counts(tally.deviations)}`);
process.exit(tally.failures.length === 0 ? 0 : 1);

function summary({ cases, exchanges, compared, failures }: Tally): string {
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  return `${cases} connections, ${exchanges} exchanges by splice, ${compared} of them also by compat and node:http, ${failures.length} unexplained, ${seconds} s`;
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
