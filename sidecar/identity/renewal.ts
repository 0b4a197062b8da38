// When to renew: at 70 % of a certificate's life, spread so that workloads that started together do not renew together, and later again after
// a failure. Only instants live here; what renewing is, is the caller's.
import type { Clock, Timer } from "../../core/clock.ts";

const RENEW_AT_RATIO = 0.7;
/** Renewals are spread over this much of the life around {@link RENEW_AT_RATIO}. */
const JITTER_RATIO = 0.1;
/** Timers run at most this long: a machine that slept renews soon after it wakes, and a long life does not overflow a timer. */
const MAX_SLEEP_MS = 600_000;

/** Epoch ms at 70 % ± 5 % of the life. `random` gives 0..1. */
export function renewalTime(life: { readonly fromMs: number; readonly toMs: number }, random: () => number): number {
  return Math.round(life.fromMs + (life.toMs - life.fromMs) * (RENEW_AT_RATIO + JITTER_RATIO * (random() - 0.5)));
}

/** Calls `run` once for each instant that was set; a new instant replaces the one before. */
export interface Alarm {
  /** Epoch ms; the past means now. */
  setAt(instantMs: number): void;
  close(): void;
}

export function createAlarm(clock: Clock, run: () => void): Alarm {
  let timer: Timer | null = null;

  function wait(instantMs: number): void {
    timer?.cancel();
    const leftMs = Math.max(instantMs - clock.nowMs(), 0);
    timer = clock.after(Math.min(leftMs, MAX_SLEEP_MS), () => {
      if (clock.nowMs() >= instantMs) run();
      else wait(instantMs);
    });
  }

  return { setAt: wait, close: () => timer?.cancel() };
}
