// What one connection may cost beyond its requests: frames that are cheap to send and make work here (RFC 9113 section 10.5). Each kind has a budget that fills
// again with time, or with work that warrants it; whoever spends it all is told to calm down and is closed.
//
// HOT PATH: one subtraction per spent frame; time is looked at only when a budget is empty.

/** A kind of frame, and what it may cost: so many at once, and so many more per second. */
interface Budget {
  readonly burst: number;
  readonly perSecond: number;
  /** For log and metric. */
  readonly name: string;
}

/** The kinds. */
export const FLOOD = {
  ping: 0,
  settings: 1,
  emptyData: 2,
  windowUpdate: 3,
  priority: 4,
  rapidReset: 5,
  provokedReset: 6,
  stray: 7,
} as const;
export type Flood = (typeof FLOOD)[keyof typeof FLOOD];

const BUDGETS: readonly Budget[] = [
  // grpc-core pings for its bandwidth estimate with each burst of data; nobody asks 20 times a second for long.
  { name: "ping", burst: 200, perSecond: 20 },
  { name: "settings", burst: 50, perSecond: 1 },
  { name: "empty_data", burst: 200, perSecond: 20 },
  // Warranted by DATA that was sent, see `earn`.
  { name: "window_update", burst: 2_000, perSecond: 100 },
  { name: "priority", burst: 2_000, perSecond: 100 },
  // Streams that were reset as soon as they were opened (CVE-2023-44487).
  { name: "rapid_reset", burst: 500, perSecond: 100 },
  // Streams that we had to reset because a rule was broken (CVE-2025-8671, "MadeYouReset").
  { name: "provoked_reset", burst: 200, perSecond: 20 },
  // Frames on streams that are over: what crossed our reset, but not for long.
  { name: "stray_frame", burst: 5_000, perSecond: 1_000 },
];

const MS_PER_SECOND = 1_000;

/** The budgets of one connection. */
export class FloodGuard {
  readonly #left = Int32Array.from(BUDGETS, ({ burst }) => burst);
  #filledMonoMs: number;
  readonly #time: { readonly nowMonoMs: number };

  /** `time` gives a coarse instant: budgets fill in steps of it. */
  constructor(time: { readonly nowMonoMs: number }) {
    this.#time = time;
    this.#filledMonoMs = time.nowMonoMs;
  }

  /** Counts one frame. False: it was one too many. */
  spend(kind: Flood): boolean {
    const left = (this.#left[kind] as number) - 1;
    this.#left[kind] = left;
    if (left >= 0) return true;
    this.#fill();
    return (this.#left[kind] as number) >= 0;
  }

  /** Work was done that warrants `count` more of a kind. */
  earn(kind: Flood, count: number): void {
    const { burst } = BUDGETS[kind] as Budget;
    const left = (this.#left[kind] as number) + count;
    this.#left[kind] = left > burst ? burst : left;
  }

  /** Its name, for the log. */
  static nameOf(kind: Flood): string {
    return (BUDGETS[kind] as Budget).name;
  }

  #fill(): void {
    const seconds = (this.#time.nowMonoMs - this.#filledMonoMs) / MS_PER_SECOND;
    this.#filledMonoMs = this.#time.nowMonoMs;
    for (let kind = 0; kind < BUDGETS.length; kind += 1) {
      const { burst, perSecond } = BUDGETS[kind] as Budget;
      this.#left[kind] = Math.min(burst, (this.#left[kind] as number) + Math.floor(seconds * perSecond));
    }
  }
}
