// The long differential fuzz of HPACK: `npm run fuzz:hpack -- [--seed N] [--lists N] [--from CONNECTION] [--direction both|encode|decode]`. Our encoder against
// the decoder of nghttp2, and the other way round, over connections of node:http2. Prints what was run and found; ends with 1 when anything differs. The same
// seed gives the same lists; `--from N --lists 1` runs connection N again.
import { parseArgs } from "node:util";
import { decodeFromNode, encodeForNode } from "../sidecar/http2/hpack/differential.ts";

const LISTS_PER_CONNECTION = 1000;
/** Connections that are open side by side. */
const SIDE_BY_SIDE = 4;
/** Connections with failures after which it stops: they repeat. */
const MAX_FAILED = 10;
const REPORT_MS = 15_000;

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    lists: { type: "string", default: "1000000" },
    from: { type: "string", default: "0" },
    direction: { type: "string", default: "both" },
  },
});
const seed = wholeNumber("seed", values.seed);
const wanted = wholeNumber("lists", values.lists);
const directions = [encodeForNode, decodeFromNode].filter(
  (_, index) => values.direction === "both" || values.direction === ["encode", "decode"][index],
);
if (directions.length === 0) throw new RangeError(`--direction must be both, encode or decode, not ${values.direction}`);
const startedMs = performance.now();
let reportedMs = startedMs;
let connection = wholeNumber("from", values.from);
let failed = 0;
const compared = new Map(directions.map((direction) => [direction.name, 0]));

await Promise.all(Array.from({ length: SIDE_BY_SIDE }, runConnections));
say(`seed ${seed}: ${summary()}`);
process.exit(failed === 0 ? 0 : 1);

async function runConnections(): Promise<void> {
  while (isShort() && failed < MAX_FAILED) {
    const number = connection;
    connection += 1;
    const direction = directions[number % directions.length] as typeof encodeForNode;
    const outcome = await direction((Math.imul(seed, 0x9e3779b1) + number) >>> 0, LISTS_PER_CONNECTION);
    compared.set(direction.name, (compared.get(direction.name) ?? 0) + outcome.compared);
    if (outcome.failures.length > 0) failed += 1;
    for (const failure of outcome.failures.slice(0, 1)) say(`connection ${number}, ${direction.name}: ${failure}`);
    if (performance.now() - reportedMs > REPORT_MS) {
      reportedMs = performance.now();
      say(`${summary()}; next connection ${connection}`);
    }
  }
}

/** True while lists of any direction are wanted: `--lists` counts all together. */
function isShort(): boolean {
  return [...compared.values()].reduce((sum, count) => sum + count, 0) < wanted;
}

function summary(): string {
  const counts = [...compared].map(([name, count]) => `${name} ${count}`).join(", ");
  return `lists ${counts}; ${failed} connections with differences, ${Math.round((performance.now() - startedMs) / 1000)} s`;
}

function wholeNumber(name: string, text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw new RangeError(`--${name} must be a whole number below 1000000000, not ${JSON.stringify(text)}`);
  return Number(text);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
