// What a step claims, and what it says when that is not so.
import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 100;

/** Thrown when something that the step claims is not so. */
export class DoesNotHold extends Error {}

/** Throws {@link DoesNotHold} with `otherwise` unless `claim` is so. */
export function hold(claim: boolean, otherwise: string): asserts claim {
  if (!claim) throw new DoesNotHold(otherwise);
}

/** Waits until it is so; throws {@link DoesNotHold} when it is not in time. */
export async function until(what: string, timeoutMs: number, isSo: () => Promise<boolean>): Promise<void> {
  const endMonoMs = performance.now() + timeoutMs;
  while (!(await isSo())) {
    hold(performance.now() < endMonoMs, `not within ${timeoutMs / 1000} s: ${what}`);
    await sleep(POLL_MS);
  }
}
