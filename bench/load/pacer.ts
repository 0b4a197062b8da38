// A thread that does nothing but wake up on time: it says `n` when request number `n` is due. Timers of the event loop are too coarse for that (1 ms),
// and spinning would take a core from what is measured.
import { parentPort, workerData } from "node:worker_threads";

/** What the thread is started with. Times as {@link monoMs}. */
export interface Pace {
  readonly startMonoMs: number;
  readonly intervalMs: number;
  readonly count: number;
}

/** Monotonic ms, the same in all threads of a process; `performance.now()` is not. */
export function monoMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

function pace({ startMonoMs, intervalMs, count }: Pace): void {
  const nobody = new Int32Array(new SharedArrayBuffer(4));
  for (let number = 0; number < count; number += 1) {
    const leftMs = startMonoMs + number * intervalMs - monoMs();
    if (leftMs > 0) Atomics.wait(nobody, 0, 0, leftMs);
    parentPort?.postMessage(number);
  }
}

if (parentPort !== null) pace(workerData as Pace); // our own constant-rate.ts started us
