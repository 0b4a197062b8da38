// The limits that hold for all workers together, as one worker sees them: rate limits, requests in flight and open connections, in shared memory and
// under one lock. A decision is as synchronous and as exact as in a sidecar of one process.
import type { Clock } from "../../core/clock.ts";
import { createRateLimiter, type RateLimiter, type RateLimitRule } from "../policy/rate-limit.ts";
import type { SharedLimits } from "../traffic.ts";
import type { BoundName, Layout } from "./memory-layout.ts";
import { createProcessLock, isProcessAlive, type ProcessLock } from "./process-lock.ts";
import { createSharedBound } from "./shared-bound.ts";
import { createSharedGcraTable } from "./shared-gcra-table.ts";

/** Settings of {@link createSharedLimits}. */
export interface SharedLimitsOptions {
  readonly buffer: ArrayBuffer;
  readonly layout: Layout;
  /** This worker's, from 0. */
  readonly slot: number;
  readonly rules: readonly RateLimitRule[];
  readonly maxInflight: number;
  readonly maxConnections: number;
  readonly clock: Clock;
  readonly pid: number;
}

/** Opens them. */
export function createSharedLimits(options: SharedLimitsOptions): SharedLimits {
  const { buffer, layout, slot, maxInflight, maxConnections } = options;
  const lock = createProcessLock({ word: layout.lock(buffer), pid: options.pid, isAlive: isProcessAlive });
  const bound = (which: BoundName, max: number) => createSharedBound({ max, cells: layout.bound(buffer, which), index: slot, lock });
  return {
    limiter: createSharedLimiter(options, lock),
    inboundShed: bound("inboundInFlight", maxInflight),
    outboundShed: bound("outboundInFlight", maxInflight),
    inboundConnections: bound("inboundConnections", maxConnections),
    outboundConnections: bound("outboundConnections", maxConnections),
  };
}

function createSharedLimiter({ buffer, layout, rules, clock }: SharedLimitsOptions, lock: ProcessLock): RateLimiter {
  const [low = 0, high = 0] = layout.seed(buffer);
  const tables = layout.tables.map((place) => createSharedGcraTable({ buffer, ...place }, [low, high]));
  const limiter = createRateLimiter({ rules, clock: systemWide(clock), tables });
  if (rules.length === 0) return limiter;
  return {
    ...limiter,
    // Reading and charging belong together: without the lock two workers could both take the last request of a burst.
    check(request) {
      lock.enter();
      try {
        return limiter.check(request);
      } finally {
        lock.leave();
      }
    },
  };
}

/** Arrival times that processes share need one clock: Node counts `performance.now()` from its own start, `process.hrtime()` from the machine's. */
function systemWide(clock: Clock): Clock {
  const offsetMs = offsetOf(clock);
  return { ...clock, monoMs: () => clock.monoMs() + offsetMs };
}

/** Both clocks tick alike, so that their distance is fixed; the try with the shortest pause between readings knows it to a microsecond. */
function offsetOf(clock: Clock): number {
  let shortestMs = Number.POSITIVE_INFINITY;
  let offsetMs = 0;
  for (let tries = 0; tries < 16; tries++) {
    const beforeMs = clock.monoMs();
    const [seconds, nanoseconds] = process.hrtime();
    const afterMs = clock.monoMs();
    if (afterMs - beforeMs >= shortestMs) continue;
    shortestMs = afterMs - beforeMs;
    offsetMs = seconds * 1e3 + nanoseconds / 1e6 - (beforeMs + afterMs) / 2;
  }
  return offsetMs;
}
