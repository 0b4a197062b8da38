// A clock that tests own: time stands still until `advance`.
import type { Clock, Timer } from "../../core/clock.ts";

/** A {@link Clock} whose time moves only by {@link FakeClock.advance}. */
export interface FakeClock extends Clock {
  /** Moves time by `ms` and fires what falls due, in order of due time, then of arming. Timers armed on the way fire too when they fall due. */
  advance(ms: number): void;
  /** Like `advance`, in `stepMs` steps with a turn of the event loop after each, so that promises between timers settle. */
  advanceAsync(ms: number, stepMs?: number): Promise<void>;
  /** Moves the wall clock alone, as when someone sets it; no timer fires. */
  stepWall(ms: number): void;
  /** How many timers are armed. */
  readonly armed: number;
}

interface Entry {
  readonly run: () => void;
  readonly delayMs: number;
  readonly repeats: boolean;
  dueMs: number;
  order: number;
}

/** Makes a clock that stands at `startMs` (epoch; default 2026-01-01T00:00:00Z). */
export function createFakeClock(startMs: number = Date.UTC(2026, 0, 1)): FakeClock {
  const armed = new Set<Entry>();
  let wallMs = startMs;
  let monoMs = 0;
  let order = 0;

  function arm(entry: Entry): void {
    entry.dueMs = monoMs + entry.delayMs;
    entry.order = order++;
    armed.add(entry);
  }
  function timer(delayMs: number, run: () => void, repeats: boolean): Timer {
    // As in Node, a delay below 1 ms is 1 ms for a repeating timer; otherwise `advance` would never end.
    const entry: Entry = { run, delayMs: Math.max(repeats ? 1 : 0, delayMs), repeats, dueMs: 0, order: 0 };
    let isCancelled = false;
    arm(entry);
    return {
      refresh() {
        if (!isCancelled) arm(entry);
      },
      cancel() {
        isCancelled = true;
        armed.delete(entry);
      },
    };
  }
  function nextDue(untilMs: number): Entry | null {
    let next: Entry | null = null;
    for (const entry of armed) {
      if (entry.dueMs > untilMs) continue;
      if (next === null || entry.dueMs < next.dueMs || (entry.dueMs === next.dueMs && entry.order < next.order)) next = entry;
    }
    return next;
  }
  function moveTo(instantMs: number): void {
    wallMs += instantMs - monoMs;
    monoMs = instantMs;
  }
  function advance(ms: number): void {
    const untilMs = monoMs + ms;
    for (let entry = nextDue(untilMs); entry !== null; entry = nextDue(untilMs)) {
      moveTo(Math.max(monoMs, entry.dueMs));
      if (entry.repeats) arm(entry);
      else armed.delete(entry);
      entry.run();
    }
    moveTo(untilMs);
  }

  return {
    nowMs: () => wallMs,
    monoMs: () => monoMs,
    after: (delayMs, run) => timer(delayMs, run, false),
    every: (periodMs, run) => timer(periodMs, run, true),
    advance,
    async advanceAsync(ms, stepMs = ms) {
      for (let left = ms; left > 0; left -= stepMs) {
        advance(Math.min(left, stepMs));
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
    stepWall(ms) {
      wallMs += ms;
    },
    get armed() {
      return armed.size;
    },
  };
}
