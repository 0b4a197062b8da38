// One case, many times: its client's bytes cut in two at every position, and byte by byte; then its first answer's. What the network does to a message must
// never change what it means.
import { type FuzzCase, renumbered } from "./fuzz-case.ts";

/** Most cuts of one text; of longer ones every so-manieth position. */
const MAX_CUTS = 400;
/** Numbers of the copies: above those of any run's cases. */
const FIRST_NUMBER = 36 ** 6;

/** The case in all its cuts. Each copy has a number, and so tokens, of its own: they run side by side. */
export function cutEverywhere(fuzzCase: FuzzCase): FuzzCase[] {
  const copies: FuzzCase[] = [];
  const copy = () => renumbered(fuzzCase, FIRST_NUMBER + copies.length);
  const sent = fuzzCase.pieces.join("");
  for (const at of positions(sent)) copies.push({ ...copy(), pieces: cut(copy().pieces, at) });
  if (sent.length <= MAX_CUTS) copies.push({ ...copy(), pieces: copy().pieces.join("").split("") });
  const answered = [...fuzzCase.answers.values()][0]?.pieces.join("") ?? "";
  for (const at of positions(answered)) copies.push(withCutAnswer(copy(), at));
  return copies;
}

function withCutAnswer(fuzzCase: FuzzCase, at: number): FuzzCase {
  const [first, ...others] = fuzzCase.answers;
  if (first === undefined) return fuzzCase;
  const [token, script] = first;
  // What is sent beyond an answer now may come apart from it: only its own connection may meet it.
  return { ...fuzzCase, sharesPool: false, answers: new Map([[token, { ...script, pieces: cut(script.pieces, at) }], ...others]) };
}

function positions(text: string): number[] {
  const step = Math.max(1, Math.ceil(text.length / MAX_CUTS));
  return Array.from({ length: Math.max(0, Math.ceil(text.length / step) - 1) }, (_, index) => (index + 1) * step);
}

function cut(pieces: readonly string[], at: number): string[] {
  const text = pieces.join("");
  return [text.slice(0, at), text.slice(at)];
}
