// Waiting for the first certificate: try, wait with backoff, try again, until it is there, cannot ever come, or the process is told to stop.
import type { Clock } from "../../core/clock.ts";
import { CertError } from "../../core/errors.ts";

/** Parts of {@link keepTrying}. */
export interface Tries {
  run(): Promise<void>;
  /** True when no later try can end differently. */
  isFinal(error: unknown): boolean;
  /** Notes the failure and says how long to wait, ms. */
  onFailure(error: unknown): number;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
}

/** Resolves when `run` does. Rejects with its final error, or with `CertError("unavailable")` when `signal` aborts. */
export async function keepTrying(tries: Tries): Promise<void> {
  // The clock's timers do not keep a process alive, and one that waits for its first certificate may have nothing else open.
  const hold = setInterval(() => {}, 2 ** 30);
  try {
    for (;;) {
      try {
        return await tries.run();
      } catch (error) {
        if (tries.isFinal(error)) throw error;
        await sleep(tries.onFailure(error), tries.clock, tries.signal);
      }
    }
  } finally {
    clearInterval(hold);
  }
}

function sleep(delayMs: number, clock: Clock, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(delayMs, () => {
      signal?.removeEventListener("abort", stop);
      resolve();
    });
    function stop(): void {
      timer.cancel();
      reject(new CertError("unavailable", "stopped while waiting for the first certificate"));
    }
    if (signal?.aborted === true) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}
