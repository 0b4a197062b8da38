// What one connection may cost beyond its requests: frames that are cheap to send and make work here (RFC 9113 section 10.5). Each kind has a budget that fills
// again with time, or with work that warrants it; whoever spends it all is told to calm down and is closed.
//
// HOT PATH: one subtraction per spent frame; time is looked at only when a budget is empty.

/** A kind of frame, and what it may cost: so many at once, and so many more per second. Its name is the label `kind` of `remora_http2_floods_total`. */
interface Budget {
  readonly burst: number;
  readonly perSecond: number;
  /** For log and metric. A header section without an end is `continuation`, one of thousands of fields `hpack_bomb`: these need no budget. */
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
  goaway: 8,
  largeHead: 9,
} as const;
export type Flood = (typeof FLOOD)[keyof typeof FLOOD];

const BUDGETS: readonly Budget[] = [
  // Acknowledgements count too: we ask seldom. Warranted by DATA that was sent, see `earnByData`.
  { name: "ping", burst: 200, perSecond: 20 },
  { name: "settings", burst: 50, perSecond: 1 },
  { name: "empty_data", burst: 200, perSecond: 20 },
  // Warranted by DATA that was sent and by streams that were opened.
  { name: "window_update", burst: 2_000, perSecond: 100 },
  // Warranted by streams that were opened.
  { name: "priority", burst: 2_000, perSecond: 100 },
  // Streams that were reset as soon as they were opened (CVE-2023-44487). Calls with a deadline of a few milliseconds look the same, by the thousand; 500 of
  // them a second cost a twentieth of a core.
  { name: "rapid_reset", burst: 2_500, perSecond: 500 },
  // Streams that we had to reset because a rule was broken (CVE-2025-8671, "MadeYouReset").
  { name: "provoked_reset", burst: 200, perSecond: 20 },
  // Frames on streams that are over, and of unknown types. What crosses our reset is at most a connection's window, which may be thousands of small messages.
  { name: "stray_frame", burst: 20_000, perSecond: 2_000 },
  { name: "goaway", burst: 20, perSecond: 1 },
  // Header sections of too many fields or octets: each may be a few octets that stand for kilobytes (RFC 7541 section 7.3). A section that fits has so few fields
  // that thrashing the table needs no budget of its own: a fresh field costs 1.3 to 2.4 times as much with its entry and the eviction of another as without,
  // measured with values of 1 to 400 octets; so what thrashes is as dear to its sender as any literals.
  { name: "large_head", burst: 200, perSecond: 20 },
];

/** Frames of WINDOW_UPDATE that each call's worth of DATA warrants, for stream and connection. */
const UPDATES_PER_DATA = 8;
/** Frames of WINDOW_UPDATE and of PRIORITY that each stream warrants. */
const UPDATES_PER_STREAM = 2;
const PRIORITIES_PER_STREAM = 2;

/** What can be earned: a window of a megabyte in messages of a few octets is answered all at once. */
const MOST_EARNED = 200_000;

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

  /** DATA was sent: its receiver may enlarge windows and, as grpc-go does for its bandwidth estimate, ask back with each frame. */
  earnByData(): void {
    this.#earn(FLOOD.windowUpdate, UPDATES_PER_DATA);
    this.#earn(FLOOD.ping, 1);
  }

  /** A stream was opened by the peer: it may come with a window and a place in a tree of priorities. */
  earnByStream(): void {
    this.#earn(FLOOD.windowUpdate, UPDATES_PER_STREAM);
    this.#earn(FLOOD.priority, PRIORITIES_PER_STREAM);
  }

  #earn(kind: Flood, count: number): void {
    const left = (this.#left[kind] as number) + count;
    this.#left[kind] = left > MOST_EARNED ? MOST_EARNED : left;
  }

  /** Its name, for the log. */
  static nameOf(kind: Flood): string {
    return (BUDGETS[kind] as Budget).name;
  }

  /** By whole seconds: what is left of one counts for the next. */
  #fill(): void {
    const seconds = Math.floor((this.#time.nowMonoMs - this.#filledMonoMs) / MS_PER_SECOND);
    if (seconds <= 0) return;
    this.#filledMonoMs += seconds * MS_PER_SECOND;
    for (let kind = 0; kind < BUDGETS.length; kind += 1) {
      const { burst, perSecond } = BUDGETS[kind] as Budget;
      const left = this.#left[kind] as number;
      this.#left[kind] = Math.max(left, Math.min(burst, left + seconds * perSecond));
    }
  }
}
