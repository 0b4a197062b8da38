// How often sidecars are asked to report. When this process is short of CPU it asks for fewer heartbeats, which are most of its work, and gives leases that last as much
// longer; once it has had room for a while it goes back by steps. The bounds are the configured interval and a most, so that a dead instance is always found in time.
import type { Clock } from "../core/clock.ts";

/** Share of the time in which the event loop works (0..1): from here on the interval is widened, and below here made shorter again. */
const BUSY = 0.85;
const IDLE = 0.5;
/** How often it is looked at, and for how long it has to be busy before each step, or idle before each step back. */
const LOOK_MS = 1_000;
const STRAINED_MS = 5_000;
const CALM_MS = 20_000;
/** Widened by so much at a time: sidecars hear of it with their next answer, so that it takes an interval to help. */
const FACTOR = 1.5;
/** Longest interval that is asked for, unless the configured one is longer already. */
export const MOST_INTERVAL_MS = 30_000;

/** What sidecars are told. */
export interface HeartbeatTerms {
  readonly intervalMs: number;
  readonly leaseMs: number;
}

/** Settings of {@link createPressure}. */
export interface PressureOptions {
  /** What is asked for without pressure. */
  readonly usual: HeartbeatTerms;
  /** Share of the time since the last call in which the event loop worked, 0..1. */
  readonly utilization: () => number;
  readonly clock: Clock;
  readonly onChange?: (terms: HeartbeatTerms, busyRatio: number) => void;
}

/** The pressure that one replica is under. */
export interface Pressure {
  /** The terms of now; the same object until they change. */
  readonly terms: HeartbeatTerms;
  /** Epoch ms since when the interval is wider than usual; null while it is not. */
  readonly since: number | null;
  close(): void;
}

/** Starts looking. */
export function createPressure({ usual, utilization, clock, onChange }: PressureOptions): Pressure {
  const most = Math.max(usual.intervalMs, MOST_INTERVAL_MS);
  /** As many intervals as the configured lease has: what was enough to outlive lost heartbeats still is. */
  const intervals = Math.max(3, usual.leaseMs / usual.intervalMs);
  let terms = usual;
  let since: number | null = null;
  let calmMs = 0;
  let strainedMs = 0;

  function change(wantedMs: number, busyRatio: number): void {
    const intervalMs = Math.round(Math.min(most, Math.max(usual.intervalMs, wantedMs)));
    strainedMs = 0;
    calmMs = 0;
    if (intervalMs === terms.intervalMs) return;
    terms = intervalMs === usual.intervalMs ? usual : { intervalMs, leaseMs: Math.round(intervalMs * intervals) };
    since = terms === usual ? null : (since ?? clock.nowMs());
    onChange?.(terms, busyRatio);
  }

  const looking = clock.every(LOOK_MS, () => {
    const busyRatio = utilization();
    strainedMs = busyRatio > BUSY ? strainedMs + LOOK_MS : 0;
    calmMs = busyRatio < IDLE ? calmMs + LOOK_MS : 0;
    if (strainedMs >= STRAINED_MS) change(terms.intervalMs * FACTOR, busyRatio);
    else if (calmMs >= CALM_MS && terms !== usual) change(terms.intervalMs / FACTOR, busyRatio);
  });

  return {
    get terms() {
      return terms;
    },
    get since() {
      return since;
    },
    close: () => looking.cancel(),
  };
}

/** The event loop's own measure, from one call to the next. */
export function createUtilization(): () => number {
  let before = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    return utilization;
  };
}
