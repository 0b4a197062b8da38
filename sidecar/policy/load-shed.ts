// Load shedding (design 10): a bound on requests in flight; past it a request is refused at once (`overloaded`) instead of queued.
// Owns one counter. No queue: a queue only turns overload into latency.
//
// HOT PATH: one compare and one add.

/** Admits at most `maxInFlight` requests at a time. */
export interface LoadShed {
  /** Requests admitted and not yet left, 0..maxInFlight. */
  readonly inFlight: number;
  readonly maxInFlight: number;
  /** True when the request may go on; then {@link LoadShed.leave} must be called exactly once. */
  tryEnter(): boolean;
  /** The admitted request is over. */
  leave(): void;
}

/** Makes a bound of `maxInFlight` (a whole number, 1 or more). */
export function createLoadShed(options: { readonly maxInFlight: number }): LoadShed {
  if (!Number.isInteger(options.maxInFlight) || options.maxInFlight < 1) {
    throw new RangeError(`maxInFlight must be a whole number of at least 1, got ${options.maxInFlight}`);
  }
  return new CountedLoadShed(options.maxInFlight);
}

class CountedLoadShed implements LoadShed {
  readonly maxInFlight: number;
  inFlight = 0;

  constructor(maxInFlight: number) {
    this.maxInFlight = maxInFlight;
  }

  tryEnter(): boolean {
    if (this.inFlight >= this.maxInFlight) return false;
    this.inFlight += 1;
    return true;
  }

  leave(): void {
    // A second leave would admit one request too many for ever; better to find out in a test.
    if (this.inFlight === 0) throw new Error("load shed: leave() without tryEnter()");
    this.inFlight -= 1;
  }
}
