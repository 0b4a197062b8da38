// What both halves of the splice engine keep alike: a pool of connections for each upstream, made on first use and let go of when it is empty, and how often all that
// waits is looked at.
import type { Upstream } from "./engine.ts";

/** Longest and shortest time between two sweeps, ms. */
const MAX_SWEEP_MS = 1_000;
const MIN_SWEEP_MS = 10;

/** How often to sweep, ms: often enough for the shortest of the times that it watches. */
export function sweepPeriodMs(timeouts: Readonly<Record<string, number>>): number {
  const shortest = Math.min(...Object.values(timeouts).filter((ms) => ms > 0));
  return Math.max(MIN_SWEEP_MS, Math.min(MAX_SWEEP_MS, shortest / 4));
}

/** The connections to one upstream. */
export interface Pool {
  /** Replaced when the same endpoint is seen with new details. */
  upstream: Upstream;
  /** True when nothing is open, dialled or awaited. */
  readonly isEmpty: boolean;
  /** Closes what has been idle for too long. */
  sweep(nowMonoMs: number): void;
  close(): void;
}

/** The pools of all upstreams, by `Upstream.key`. Bounded by what is in use: an empty one goes with the next sweep. */
export class UpstreamPools<P extends Pool> {
  readonly #make: (upstream: Upstream) => P;
  readonly #pools = new Map<string, P>();

  constructor(make: (upstream: Upstream) => P) {
    this.#make = make;
  }

  of(upstream: Upstream): P {
    let pool = this.#pools.get(upstream.key);
    if (pool === undefined) {
      pool = this.#make(upstream);
      this.#pools.set(upstream.key, pool);
    }
    pool.upstream = upstream;
    return pool;
  }

  sweep(nowMonoMs: number): void {
    for (const [key, pool] of this.#pools) {
      pool.sweep(nowMonoMs);
      if (!pool.isEmpty) continue;
      pool.close();
      this.#pools.delete(key);
    }
  }

  close(): void {
    for (const pool of this.#pools.values()) pool.close();
  }
}
