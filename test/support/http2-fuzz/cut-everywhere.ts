// One case, many times: its client's bytes cut in two at every position, and into single octets. What the network does to frames must never change what they mean.
import type { FuzzCase } from "./fuzz-case.ts";
import { generateCase } from "./generate.ts";

/** Most cuts; of longer cases every so-manieth position. */
const MAX_CUTS = 500;
/** Numbers of the copies: above those of any run's cases. */
const FIRST_NUMBER = 36 ** 6;

/** The case in all its cuts. Each copy has a number, and so tokens, of its own: they run side by side. */
export function cutEverywhere(seed: number, number: number): FuzzCase[] {
  const { length } = Buffer.concat(generateCase(seed, number).pieces);
  const step = Math.max(1, Math.ceil(length / MAX_CUTS));
  const copies: FuzzCase[] = [];
  for (let at = step; at < length; at += step) copies.push(generateCase(seed, number, { as: FIRST_NUMBER + copies.length, cutAt: at }));
  if (length <= 4 * MAX_CUTS) copies.push(generateCase(seed, number, { as: FIRST_NUMBER + copies.length, cutAt: -1 }));
  return copies;
}
