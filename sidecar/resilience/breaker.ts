// One circuit breaker for one endpoint (design 12): opens after consecutive failures, stays open for a growing time, then lets a single probe through.
// Owns the state and its one `transition`; how many breakers may be open at once is the balancer's to say (`mayOpen`). No timer of its own:
// the balancer asks `wake` when the time has come.

/** Standard words: *open* means that traffic is stopped. */
export type BreakerState =
  | { readonly kind: "closed" }
  | { readonly kind: "open"; readonly untilMonoMs: number }
  | { readonly kind: "half_open"; readonly probing: boolean };

/** When to open and for how long. */
export interface BreakerSettings {
  /** Consecutive failures that open it, default 7. */
  readonly failures: number;
  /** First time open, default 1 000 ms. Doubles at each failed probe. */
  readonly minBackoffMs: number;
  /** Longest time open, default 60 000 ms. */
  readonly maxBackoffMs: number;
  /** Share of the backoff that is random, 0..1, default 0.2: endpoints that failed together are not probed together. */
  readonly jitterRatio: number;
}

/** Settings unless told otherwise (design 12). */
export const DEFAULT_BREAKER: BreakerSettings = { failures: 7, minBackoffMs: 1_000, maxBackoffMs: 60_000, jitterRatio: 0.2 };

/** The breaker of one endpoint. */
export interface Breaker {
  state(): BreakerState;
  /** True when a request may be sent now. */
  passes(): boolean;
  /** A request is about to be sent. Half open, this is the probe: until it ends nothing else passes. Returns true exactly for a probe. */
  begin(): boolean;
  /** A request ended. `probe` is what {@link Breaker.begin} returned. */
  end(ok: boolean, probe: boolean, nowMonoMs: number): void;
  /** A request ended in a way that says nothing about the endpoint (the client went away). A probe may be sent again. */
  abandon(probe: boolean): void;
  /** Half opens it when its time is over, or at once when `now` is forced. */
  wake(nowMonoMs: number, force?: boolean): void;
}

const CLOSED: BreakerState = { kind: "closed" };
const HALF_OPEN: BreakerState = { kind: "half_open", probing: false };
const PROBING: BreakerState = { kind: "half_open", probing: true };

/** Longest exponent: 2^20 × the smallest backoff is past every bound. */
const MAX_DOUBLINGS = 20;

/** Makes a closed breaker. `random` gives 0..1. `mayOpen` is asked before it opens; `changed` is told each edge. */
export function createBreaker(options: {
  readonly settings: BreakerSettings;
  readonly random: () => number;
  readonly mayOpen: () => boolean;
  readonly changed: (from: BreakerState, to: BreakerState) => void;
}): Breaker {
  const { settings, random } = options;
  /** Failures in a row while closed; stays at the bound while `mayOpen` says no. */
  let failuresInRow = 0;
  /** Times it opened since it was last closed. */
  let openings = 0;
  let state: BreakerState = CLOSED;

  function transition(to: BreakerState): void {
    const from = state;
    state = to;
    options.changed(from, to);
  }

  function open(nowMonoMs: number): void {
    const backoffMs = Math.min(settings.maxBackoffMs, settings.minBackoffMs * 2 ** Math.min(openings, MAX_DOUBLINGS));
    openings += 1;
    transition({ kind: "open", untilMonoMs: nowMonoMs + backoffMs * (1 - settings.jitterRatio * random()) });
  }

  function close(): void {
    failuresInRow = 0;
    openings = 0;
    transition(CLOSED);
  }

  return {
    state: () => state,
    passes: () => state === CLOSED || state === HALF_OPEN,
    begin() {
      if (state !== HALF_OPEN) return false;
      transition(PROBING);
      return true;
    },
    end(ok, probe, nowMonoMs) {
      if (state.kind === "half_open") {
        // Requests sent before it opened may still come home: only the probe decides.
        if (!probe) return;
        if (ok) close();
        else open(nowMonoMs);
      } else if (state.kind === "closed") {
        failuresInRow = ok ? 0 : Math.min(failuresInRow + 1, settings.failures);
        if (failuresInRow >= settings.failures && options.mayOpen()) open(nowMonoMs);
      }
    },
    abandon(probe) {
      if (probe && state === PROBING) transition(HALF_OPEN);
    },
    wake(nowMonoMs, force = false) {
      if (state.kind === "open" && (force || nowMonoMs >= state.untilMonoMs)) transition(HALF_OPEN);
    },
  };
}
