// How sure one share is above another, when each was seen in a limited number of cases. So that one failed request of two is not "50 % errors", the
// difference is judged by the lower end of its confidence interval: Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10),
// which is built of Wilson's intervals and holds for small numbers and for shares of zero, where the usual formula has no width at all.

/** One-sided 99 %: one judgement in a hundred of two equal versions would be wrong, and the margin comes on top. */
export const CONFIDENCE_Z = 2.326;

/** How often something happened, of how many cases. Fractions are allowed: older cases weigh less. */
export interface Share {
  readonly count: number;
  /** At least `count`; may be 0. */
  readonly of: number;
}

/** The share as a number, 0..1; 0 where there was no case. */
export function ratioOf({ count, of }: Share): number {
  return of <= 0 ? 0 : clamp(count / of);
}

/** Wilson's score interval of a share. Without any case it is everything: 0..1. */
export function wilsonInterval(share: Share, z: number = CONFIDENCE_Z): { readonly low: number; readonly high: number } {
  const { of } = share;
  if (of <= 0) return { low: 0, high: 1 };
  const ratio = ratioOf(share);
  const square = z * z;
  const centre = ratio + square / (2 * of);
  const spread = z * Math.sqrt((ratio * (1 - ratio)) / of + square / (4 * of * of));
  const scale = 1 + square / of;
  return { low: clamp((centre - spread) / scale), high: clamp((centre + spread) / scale) };
}

/** By how much `now` is above `before` at the very least, -1..1; below zero where it may as well not be. */
export function leastDifference(now: Share, before: Share, z: number = CONFIDENCE_Z): number {
  const [p1, p2] = [ratioOf(now), ratioOf(before)];
  const { low } = wilsonInterval(now, z);
  const { high } = wilsonInterval(before, z);
  return p1 - p2 - Math.hypot(p1 - low, high - p2);
}

function clamp(ratio: number): number {
  return Math.min(1, Math.max(0, ratio));
}
