// Peak EWMA: a latency estimate that believes a rise at once and a fall slowly (after Finagle's balancer of that name). A latency above the estimate
// replaces it; a lower one moves it by the share of the decay time that passed. Time alone moves it down, so that an endpoint that was slow is asked again.
//
// HOT PATH: one `Math.exp` per read and per observation, no allocation.

/** Default time constant of the decay, ms. */
export const DEFAULT_DECAY_MS = 10_000;

/** A latency estimate. */
export interface PeakEwma {
  /** False until the first observation. */
  readonly measured: boolean;
  /** The estimate in ms as of `nowMonoMs`; 0 before the first observation. Changes nothing. */
  read(nowMonoMs: number): number;
  /** Takes in a latency. */
  observe(latencyMs: number, nowMonoMs: number): void;
  /** Forgets everything. */
  reset(): void;
}

/** Makes an estimate with the time constant `decayMs` (greater than 0). */
export function createPeakEwma(decayMs: number = DEFAULT_DECAY_MS): PeakEwma {
  return new DecayingPeak(decayMs);
}

class DecayingPeak implements PeakEwma {
  readonly #decayMs: number;
  measured = false;
  #estimateMs = 0;
  #stampMonoMs = 0;

  constructor(decayMs: number) {
    this.#decayMs = decayMs;
  }

  read(nowMonoMs: number): number {
    return this.#estimateMs * this.#kept(nowMonoMs);
  }

  observe(latencyMs: number, nowMonoMs: number): void {
    const kept = this.measured ? this.#kept(nowMonoMs) : 0;
    this.#estimateMs = latencyMs > this.#estimateMs ? latencyMs : this.#estimateMs * kept + latencyMs * (1 - kept);
    this.#stampMonoMs = nowMonoMs;
    this.measured = true;
  }

  reset(): void {
    this.measured = false;
    this.#estimateMs = 0;
  }

  /** Share of the estimate that is left after the time since the last observation, 0..1. */
  #kept(nowMonoMs: number): number {
    const elapsedMs = nowMonoMs - this.#stampMonoMs;
    return elapsedMs <= 0 ? 1 : Math.exp(-elapsedMs / this.#decayMs);
  }
}
