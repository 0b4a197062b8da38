// HTTP/1.1 of the splice engine: the clients' connections, the pools of upstreams, and the sweep that watches how long everything takes. One timer for all
// of them instead of one each: waiting is counted in seconds, and a request that is answered in time costs nothing.
import type { Clock } from "../../core/clock.ts";
import type { ServedConnection, Upstream } from "../engine.ts";
import type { Direction } from "../exchange.ts";
import { ClientConnection, type Http1Engine, type Http1Timeouts } from "./client-connection.ts";
import { UpstreamPool } from "./upstream-pool.ts";

/** The defaults, ms. */
export const HTTP1_TIMEOUTS: Http1Timeouts & { readonly upstreamIdleMs: number } = {
  headMs: 15_000,
  stallMs: 60_000,
  // Above the idle time of a pooled connection on the other side, so that the dialling side closes first.
  keepAliveMs: 75_000,
  queueMs: 10_000,
  tunnelIdleMs: 0,
  discardMs: 5_000,
  lingerMs: 1_000,
  // Below the 75 s that nginx and most servers keep theirs.
  upstreamIdleMs: 30_000,
};

/** Longest and shortest time between two sweeps, ms. */
const MAX_SWEEP_MS = 1_000;
const MIN_SWEEP_MS = 10;

/** The HTTP/1.1 half of the splice engine. */
export class SpliceHttp1 implements Http1Engine {
  readonly timeouts: Http1Timeouts;
  nowMonoMs: number;
  readonly #clock: Clock;
  readonly #upstreamIdleMs: number;
  readonly #clients = new Set<ClientConnection>();
  readonly #pools = new Map<string, UpstreamPool>();
  readonly #draining = new Set<Direction>();
  readonly #sweeping: { cancel(): void };

  constructor(clock: Clock, timeouts: Partial<typeof HTTP1_TIMEOUTS> = {}) {
    const all = { ...HTTP1_TIMEOUTS, ...timeouts };
    this.timeouts = all;
    this.#upstreamIdleMs = all.upstreamIdleMs;
    this.#clock = clock;
    this.nowMonoMs = clock.monoMs();
    const shortest = Math.min(...Object.values(all).filter((ms) => ms > 0));
    this.#sweeping = clock.every(Math.max(MIN_SWEEP_MS, Math.min(MAX_SWEEP_MS, shortest / 4)), () => this.#sweep());
  }

  serve(served: ServedConnection): void {
    const client = new ClientConnection(served, this);
    this.#clients.add(client);
    client.start();
  }

  poolFor(upstream: Upstream): UpstreamPool {
    const { key } = upstream;
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      pool = new UpstreamPool(upstream, { clock: this.#clock, idleMs: this.#upstreamIdleMs });
      this.#pools.set(key, pool);
    }
    pool.upstream = upstream;
    return pool;
  }

  isDraining(direction: Direction): boolean {
    return this.#draining.has(direction);
  }

  forget(client: ClientConnection): void {
    this.#clients.delete(client);
  }

  drain(direction: Direction): void {
    this.#draining.add(direction);
    for (const client of this.#clients) if (client.served.context.direction === direction) client.drain();
  }

  close(): void {
    this.#sweeping.cancel();
    for (const client of this.#clients) client.close();
    for (const pool of this.#pools.values()) pool.close();
  }

  #sweep(): void {
    this.nowMonoMs = this.#clock.monoMs();
    for (const client of this.#clients) client.check(this.nowMonoMs);
    for (const [key, pool] of this.#pools) {
      pool.sweep(this.nowMonoMs);
      if (pool.isEmpty) this.#pools.delete(key);
    }
  }
}
