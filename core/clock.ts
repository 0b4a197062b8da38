// Time as an argument. Everything that waits or compares instants takes a `Clock`, so that tests own time (style 19).
// `nowMs` is wall time and may step; durations are measured with `monoMs`, which never goes back.
import { performance } from "node:perf_hooks"; // not the global, which is looked up anew with each call

/** A pending call made by {@link Clock.after} or {@link Clock.every}. */
export interface Timer {
  /** Starts the full delay again, without allocating. A fired one-shot timer is armed again; a cancelled one stays cancelled. */
  refresh(): void;
  /** Stops the timer. Idempotent. */
  cancel(): void;
}

/** The source of time. All values are milliseconds. */
export interface Clock {
  /** Wall clock, ms since the epoch. */
  nowMs(): number;
  /** Monotonic instant, ms with a fraction; only differences mean anything. */
  monoMs(): number;
  /** Calls `run` once after `delayMs`. Does not keep the process alive. */
  after(delayMs: number, run: () => void): Timer;
  /** Calls `run` each `periodMs`. Does not keep the process alive. */
  every(periodMs: number, run: () => void): Timer;
}

/** The process's own clock. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monoMs: () => performance.now(),
  after(delayMs, run) {
    const handle = setTimeout(run, delayMs).unref();
    return { refresh: () => void handle.refresh(), cancel: () => clearTimeout(handle) };
  },
  every(periodMs, run) {
    const handle = setInterval(run, periodMs).unref();
    return { refresh: () => void handle.refresh(), cancel: () => clearInterval(handle) };
  },
};
