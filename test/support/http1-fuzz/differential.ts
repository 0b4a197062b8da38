// Runs cases through the splice engine, the compat engine and node:http, and sorts what differs: explained by a row of the table, by a known deviation of the
// other reader, or by nothing, which is a failure.
import { createEngine } from "../../../sidecar/create-engine.ts";
import type { StrictnessRule } from "../../../sidecar/http1/strictness.ts";
import { createFakeClock } from "../fake-clock.ts";
import { compare, type Difference, STRICT } from "./compare.ts";
import { COMPAT, type DeviationName, explain } from "./deviations.ts";
import type { FuzzCase } from "./fuzz-case.ts";
import { type CaseRecord, createFuzzWorld, type FuzzWorld } from "./fuzz-world.ts";
import { createNodeOracle, type NodeOracle } from "./node-oracle.ts";
import { type ReferenceRequests, readRequests } from "./reference.ts";

/** A difference that nothing explains. */
export interface Failure {
  readonly reader: "splice" | "compat" | "node:http";
  /** Null for what is wrong with an engine rather than with a case. */
  readonly fuzzCase: FuzzCase | null;
  readonly text: string;
  /** What the client heard from the splice engine and from the compat engine, where they ran. */
  readonly heard: readonly string[];
}

/** What has been run, and what was found. */
export interface Tally {
  cases: number;
  /** Requests and their answers that went through the splice engine. */
  exchanges: number;
  /** Of those, the ones that the compat engine and node:http were given too. */
  compared: number;
  /** Messages that a row refused, by row. */
  readonly refused: Map<StrictnessRule, number>;
  /** Of those, requests that the compat engine passed on whole: differences that a row explains. */
  readonly passedByCompat: Map<StrictnessRule, number>;
  readonly deviations: Map<DeviationName, number>;
  readonly failures: Failure[];
}

/** Three readers, ready to be given cases. */
export interface Differential {
  readonly tally: Tally;
  /** Runs the cases side by side. `alone`: by the splice engine only, held against what the cases mean. */
  run(cases: readonly FuzzCase[], options?: { readonly alone: boolean }): Promise<void>;
  close(): void;
}

/** Starts the readers. */
export async function createDifferential(): Promise<Differential> {
  const clock = createFakeClock();
  const splice = createFuzzWorld("splice", await createEngine("splice", clock), clock, true);
  const compat = createFuzzWorld("compat", await createEngine("compat", clock), clock, false);
  const node = createNodeOracle();
  const tally: Tally = {
    cases: 0,
    exchanges: 0,
    compared: 0,
    refused: new Map(),
    passedByCompat: new Map(),
    deviations: new Map(),
    failures: [],
  };
  return {
    tally,
    async run(cases, options = { alone: false }) {
      const read = cases.map((fuzzCase) => ({ fuzzCase, meant: readRequests(fuzzCase.pieces.join("")) }));
      const spliced = await splice.run(cases);
      const others = options.alone ? null : await runOthers(compat, node, read, tally);
      read.forEach(({ fuzzCase, meant }, index) => {
        const record = spliced[index] as CaseRecord;
        tally.cases += 1;
        tally.exchanges += fuzzCase.exchanges;
        if (others !== null) tally.compared += fuzzCase.exchanges;
        for (const { text } of compare(fuzzCase, meant, record, STRICT)) fail("splice", fuzzCase, text, [record.heard]);
        countRefusal(tally, meant, record, others?.[index] ?? null);
        if (others !== null) compareOther(fuzzCase, meant, record, others[index] as CaseRecord);
      });
      for (const world of [splice, compat]) for (const text of world.takeFaults()) fail(world.name as "splice" | "compat", null, text, []);
    },
    close() {
      splice.close();
      compat.close();
      node.close();
    },
  };

  function fail(reader: Failure["reader"], fuzzCase: FuzzCase | null, text: string, heard: readonly string[]): void {
    tally.failures.push({ reader, fuzzCase, text, heard });
  }

  function compareOther(fuzzCase: FuzzCase, meant: ReferenceRequests, record: CaseRecord, other: CaseRecord): void {
    for (const difference of compare(fuzzCase, meant, other, COMPAT)) {
      const deviation = deviationFor(fuzzCase, meant, other, difference);
      if (deviation === null) fail("compat", fuzzCase, difference.text, [record.heard, other.heard]);
      else add(tally.deviations, deviation);
    }
  }
}

/** Tokens of another case are never explained. */
function deviationFor(fuzzCase: FuzzCase, meant: ReferenceRequests, other: CaseRecord, difference: Difference): DeviationName | null {
  return difference.place === -1 ? null : explain(fuzzCase, meant, other, difference);
}

async function runOthers(
  compat: FuzzWorld,
  node: NodeOracle,
  read: readonly { readonly fuzzCase: FuzzCase; readonly meant: ReferenceRequests }[],
  tally: Tally,
): Promise<CaseRecord[]> {
  const records = await compat.run(read.map(({ fuzzCase }) => fuzzCase));
  for (const { fuzzCase, text } of await node.run(read)) tally.failures.push({ reader: "node:http", fuzzCase, text, heard: [] });
  return records;
}

function countRefusal(tally: Tally, meant: ReferenceRequests, record: CaseRecord, other: CaseRecord | null): void {
  for (const detail of record.refusals) {
    const rule = /^rule: ([a-z0-9_]+)/.exec(detail)?.[1] as StrictnessRule | undefined;
    if (rule === undefined) continue;
    add(tally.refused, rule);
    const place = meant.requests.at(-1)?.body.isWhole === false ? meant.requests.length - 1 : meant.requests.length;
    if (meant.rest === "flawed" && meant.flaws.has(rule) && other?.arrived.get(place)?.body.isWhole === true)
      add(tally.passedByCompat, rule);
  }
}

function add<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** A failure as text: enough to run it again and to see what happened. */
export function describeFailure({ reader, fuzzCase, text, heard }: Failure): string {
  if (fuzzCase === null) return `${reader}: ${text}`;
  const { seed, number, pieces, answers } = fuzzCase;
  return [
    `${reader}, seed ${seed}, case ${number}: ${text}`,
    `  sent     ${JSON.stringify(pieces)}`,
    `  answers  ${JSON.stringify([...answers])}`,
    ...heard.map((each, index) => `  ${index === 0 ? "splice  " : "compat  "} ${JSON.stringify(each)}`),
  ].join("\n");
}
