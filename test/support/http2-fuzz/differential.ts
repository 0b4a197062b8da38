// Runs cases through the splice engine and through the compat engine, which is node:http2 on both sides, and sorts what differs: explained by a row of the table,
// or by nothing, which is a failure.
import { createEngine } from "../../../sidecar/create-engine.ts";
import { createFakeClock } from "../fake-clock.ts";
import { compare, wholeText } from "./compare.ts";
import { type DeviationName, explainCompat, explainPassage } from "./deviations.ts";
import type { FuzzCase, FuzzExchange } from "./fuzz-case.ts";
import { type CaseRecord, createFuzzWorld } from "./fuzz-world.ts";

/** A difference that nothing explains. */
export interface Failure {
  readonly engine: "splice" | "compat";
  /** Null for what is wrong with an engine rather than with a case. */
  readonly fuzzCase: FuzzCase | null;
  readonly text: string;
}

/** What has been run, and what was found. */
export interface Tally {
  cases: number;
  /** Requests and their answers that went through the splice engine. */
  exchanges: number;
  /** Of those, the ones that the compat engine was given too. */
  compared: number;
  /** Cases that were changed, by the change. */
  readonly mutated: Map<string, number>;
  /** What the splice engine said of flaws, without numbers. */
  readonly refusals: Map<string, number>;
  readonly deviations: Map<DeviationName, number>;
  readonly failures: Failure[];
}

/** Two engines, ready to be given cases. */
export interface Differential {
  readonly tally: Tally;
  /** Runs the cases side by side. `alone`: by the splice engine only. */
  run(cases: readonly FuzzCase[], options?: { readonly alone: boolean }): Promise<void>;
  /** Closes the engines; what they leave open is a failure. */
  close(): Promise<void>;
}

/** Starts the engines. */
export async function createDifferential(): Promise<Differential> {
  const clock = createFakeClock();
  const splice = createFuzzWorld("splice", await createEngine("splice", clock), clock);
  const compat = createFuzzWorld("compat", await createEngine("compat", clock), clock);
  const tally: Tally = {
    cases: 0,
    exchanges: 0,
    compared: 0,
    mutated: new Map(),
    refusals: new Map(),
    deviations: new Map(),
    failures: [],
  };

  function fail(engine: Failure["engine"], fuzzCase: FuzzCase | null, text: string): void {
    tally.failures.push({ engine, fuzzCase, text });
  }

  function judge(record: CaseRecord): void {
    const { fuzzCase, refusals } = record;
    tally.cases += 1;
    tally.exchanges += fuzzCase.exchanges.length;
    if (fuzzCase.mutation !== null) count(tally.mutated, `${fuzzCase.mutation.side} ${fuzzCase.mutation.name}`);
    for (const refusal of refusals) count(tally.refusals, refusal.replaceAll(/".*"/g, "…").replaceAll(/\d+/g, "N"));
    for (const { text, exchange } of compare(record)) fail("splice", fuzzCase, `${exchange?.token ?? "connection"}: ${text}`);
  }

  /** A case that does nothing wrong: each engine by itself must be right. */
  function judgeCompat(record: CaseRecord): void {
    for (const difference of compare(record)) {
      const row = explainCompat(difference, record);
      if (row === null) fail("compat", record.fuzzCase, `${difference.exchange?.token ?? "connection"}: ${difference.text}`);
      else count(tally.deviations, row);
    }
  }

  /** A case that does: what both let through must be the same, and what only one did needs a row. */
  function judgePair(splice: CaseRecord, compat: CaseRecord): void {
    for (const exchange of splice.fuzzCase.exchanges) {
      const requests = (record: CaseRecord) => wholeText(record.arrived.get(exchange.token)?.at(-1));
      const answers = (record: CaseRecord) => wholeText(record.heard.get(exchange.id));
      judgeMessage(exchange, splice, compat, "request", requests);
      judgeMessage(exchange, splice, compat, "answer", answers);
    }
  }

  function judgeMessage(
    exchange: FuzzExchange,
    splice: CaseRecord,
    compat: CaseRecord,
    what: string,
    textIn: (record: CaseRecord) => string | null,
  ): void {
    const [one, other] = [textIn(splice), textIn(compat)];
    if (one === other) return;
    const missing = one === null || isRefusal(one) ? "splice" : other === null || isRefusal(other) ? "compat" : null;
    const isTrailerless = what === "request" && withoutTrailers(one) === withoutTrailers(other);
    const row = isTrailerless ? "compat_request_trailers" : explainPassage(exchange, splice, compat, missing);
    if (row === null) fail("splice", splice.fuzzCase, `${exchange.token}: the ${what} is ${one} by splice and ${other} by compat`);
    else count(tally.deviations, row);
  }

  return {
    tally,
    async run(cases, options = { alone: false }) {
      const spliced = await splice.run(cases);
      spliced.forEach(judge);
      if (!options.alone) {
        const others = await compat.run(cases);
        others.forEach((other, index) => {
          tally.compared += other.fuzzCase.exchanges.length;
          if (other.fuzzCase.mutation === null) judgeCompat(other);
          else judgePair(spliced[index] as CaseRecord, other);
        });
      }
      for (const text of splice.takeFaults()) fail("splice", null, text);
      compat.takeFaults();
    },
    async close() {
      const left = await splice.close();
      if (left > 0) fail("splice", null, `${left} connections to apps are left open by an engine that is closed`);
      await compat.close();
    },
  };
}

function withoutTrailers(text: string | null): string | null {
  if (text === null) return null;
  const [pseudo, sections, body] = JSON.parse(text) as [unknown, unknown[], unknown];
  return JSON.stringify([pseudo, sections[0], body]);
}

/** An answer of an engine itself. */
function isRefusal(text: string): boolean {
  return text.startsWith('[[":status","502"]') || text.startsWith('[[":status","431"]');
}

function count<Name>(map: Map<Name, number>, name: Name): void {
  map.set(name, (map.get(name) ?? 0) + 1);
}

/** For a report: the case, and how to run it again. */
export function describeFailure({ engine, fuzzCase, text }: Failure): string {
  if (fuzzCase === null) return `${engine}: ${text}`;
  const { seed, number, mutation } = fuzzCase;
  const changed = mutation === null ? "unchanged" : `${mutation.side} ${mutation.name}`;
  return `${engine}: seed ${seed}, case ${number} (${changed}): ${text}`;
}
