// Many timers at the price of one: a hashed wheel of 512 slots of 8 ms (Varghese and Lauck, scheme 6). Entries are links of a list themselves, so that
// scheduling and cancelling make no object and no closure. Owns one timer of the clock, armed for the next slot that holds something: an empty wheel
// is at rest, and entries that are cancelled in time cost at most one look at their slot.
//
// HOT PATH: schedule and cancel are a few stores each. A timer is late by up to 8 ms and never early.
import type { Clock, Timer } from "../../core/clock.ts";

/** Length of a slot, ms: a timer is late by at most this. */
export const TICK_MS = 8;
/** Slots of the wheel; what is due later than 512 × 8 ms is looked at once each turn. */
const SLOTS = 512;

/** Something that falls due. Extend it by what is to happen; it is in one wheel at a time. */
export class WheelEntry {
  /** Both set exactly while the entry is in a wheel. */
  next: WheelEntry | null = null;
  previous: WheelEntry | null = null;
  /** The tick from which on it is due. */
  dueTick = 0;

  /** Called once, when it is due and out of the wheel again: it may be scheduled anew. Must not throw. */
  onDue(): void {}
}

/** Keeps entries until they are due. */
export class TimerWheel {
  readonly #clock: Clock;
  /** The head of each slot's ring. */
  readonly #slots: readonly WheelEntry[] = Array.from({ length: SLOTS }, createRing);
  /** Holds what is due while it is being told. */
  readonly #due = createRing();
  #count = 0;
  /** Slots up to this tick have been looked at. */
  #doneTick = 0;
  /** The tick that the timer is armed for; Infinity exactly while it is not. */
  #wakeTick = Number.POSITIVE_INFINITY;
  #timer: Timer | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Entries held. */
  get count(): number {
    return this.#count;
  }

  /** Calls the entry at `dueMonoMs`, at once (in a later turn) when that is over. One that is held is moved. */
  schedule(entry: WheelEntry, dueMonoMs: number): void {
    if (entry.next === null) this.#count += 1;
    else unlink(entry);
    entry.dueTick = Math.max(Math.ceil(dueMonoMs / TICK_MS), this.#doneTick + 1);
    link(entry, this.#slot(entry.dueTick));
    if (entry.dueTick < this.#wakeTick) this.#arm(entry.dueTick);
  }

  /** Takes the entry out. Idempotent. */
  cancel(entry: WheelEntry): void {
    if (entry.next === null) return;
    unlink(entry);
    this.#count -= 1;
  }

  #slot(tick: number): WheelEntry {
    return this.#slots[tick % SLOTS] as WheelEntry;
  }

  /** The clock's timer is asked for one turn of the wheel at most: delays have a bound there, too. */
  #arm(tick: number): void {
    const nowMonoMs = this.#clock.monoMs();
    const wakeTick = Math.min(tick, Math.floor(nowMonoMs / TICK_MS) + SLOTS);
    if (wakeTick >= this.#wakeTick) return;
    this.#timer?.cancel();
    this.#wakeTick = wakeTick;
    this.#timer = this.#clock.after(Math.max(1, Math.ceil(wakeTick * TICK_MS - nowMonoMs)), this.#onWake);
  }

  readonly #onWake = (): void => {
    this.#timer = null;
    this.#wakeTick = Number.POSITIVE_INFINITY;
    const tick = Math.floor(this.#clock.monoMs() / TICK_MS);
    this.#collect(tick);
    while (this.#due.next !== this.#due) {
      const entry = this.#due.next as WheelEntry; // a ring has no end
      this.cancel(entry);
      entry.onDue();
    }
    if (this.#count > 0) this.#arm(this.#nextUsed(tick));
  };

  /** Moves what is due from the slots that have passed since the last look; after a whole turn each has been seen. */
  #collect(tick: number): void {
    for (let at = Math.max(this.#doneTick + 1, tick - SLOTS + 1); at <= tick; at += 1) {
      const ring = this.#slot(at);
      let entry = ring.next as WheelEntry;
      while (entry !== ring) {
        const following = entry.next as WheelEntry;
        if (entry.dueTick <= tick) {
          unlink(entry);
          link(entry, this.#due);
        }
        entry = following;
      }
    }
    this.#doneTick = Math.max(this.#doneTick, tick);
  }

  /** The next tick whose slot holds anything, due then or a turn later. */
  #nextUsed(tick: number): number {
    for (let at = tick + 1; at < tick + SLOTS; at += 1) {
      const ring = this.#slot(at);
      if (ring.next !== ring) return at;
    }
    return tick + SLOTS;
  }
}

function createRing(): WheelEntry {
  const ring = new WheelEntry();
  ring.next = ring;
  ring.previous = ring;
  return ring;
}

/** Puts an entry at the end of a ring: what was scheduled first is told first. */
function link(entry: WheelEntry, ring: WheelEntry): void {
  const last = ring.previous as WheelEntry;
  entry.previous = last;
  entry.next = ring;
  last.next = entry;
  ring.previous = entry;
}

function unlink(entry: WheelEntry): void {
  (entry.previous as WheelEntry).next = entry.next;
  (entry.next as WheelEntry).previous = entry.previous;
  entry.next = null;
  entry.previous = null;
}
