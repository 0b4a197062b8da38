// How many requests of a destination may be sent again: a share of those that came within the last ten seconds, and a few in any case (as Finagle's and
// Linkerd's budgets). A destination that fails altogether gets a fifth more requests, not three times as many.
//
// HOT PATH: a request costs one comparison and one addition. Sums are moved on once a second.

/** Settings of a {@link RetryBudget}. */
export interface RetryBudgetSettings {
  /** Retries per request, 0..1; default 0.2. */
  readonly ratio: number;
  /** Retries per second that are free, on average over the window, so that a quiet destination has some; default 10, as Linkerd's. */
  readonly minPerSecond: number;
}

/** Settings unless told otherwise. */
export const DEFAULT_RETRY_BUDGET: RetryBudgetSettings = { ratio: 0.2, minPerSecond: 10 };

const BUCKET_MS = 1_000;
const BUCKETS = 10;

/** The budget of one destination. */
export class RetryBudget {
  readonly #settings: RetryBudgetSettings;
  /** Requests and retries of each second of the window but the current one. */
  readonly #requests = new Float64Array(BUCKETS);
  readonly #retries = new Float64Array(BUCKETS);
  /** Of the current second. */
  #newRequests = 0;
  #newRetries = 0;
  /** The current second's number and end. */
  #bucket = 0;
  #endsMonoMs = 0;

  constructor(settings: RetryBudgetSettings = DEFAULT_RETRY_BUDGET) {
    this.#settings = settings;
  }

  /** A request came, at `nowMonoMs`. */
  deposit(nowMonoMs: number): void {
    if (nowMonoMs >= this.#endsMonoMs) this.#moveTo(nowMonoMs);
    this.#newRequests += 1;
  }

  /** Takes one retry out; false when the budget is used up. */
  withdraw(nowMonoMs: number): boolean {
    if (nowMonoMs >= this.#endsMonoMs) this.#moveTo(nowMonoMs);
    const { ratio, minPerSecond } = this.#settings;
    if (ratio === 0) return false;
    const allowed = ratio * (this.#newRequests + sum(this.#requests)) + (minPerSecond * BUCKETS * BUCKET_MS) / 1_000;
    if (this.#newRetries + sum(this.#retries) + 1 > allowed) return false;
    this.#newRetries += 1;
    return true;
  }

  /** Closes the current second, and forgets those that left the window. */
  #moveTo(nowMonoMs: number): void {
    const bucket = Math.floor(nowMonoMs / BUCKET_MS);
    const passed = Math.min(BUCKETS, bucket - this.#bucket);
    this.#requests[this.#bucket % BUCKETS] = this.#newRequests;
    this.#retries[this.#bucket % BUCKETS] = this.#newRetries;
    this.#newRequests = 0;
    this.#newRetries = 0;
    for (let back = 0; back < passed; back += 1) {
      this.#requests[(bucket - back) % BUCKETS] = 0;
      this.#retries[(bucket - back) % BUCKETS] = 0;
    }
    this.#bucket = bucket;
    this.#endsMonoMs = (bucket + 1) * BUCKET_MS;
  }
}

function sum(values: Float64Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
