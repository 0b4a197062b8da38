// HTTP/2 of the splice engine: the clients' connections, the pools of upstreams, and the sweep that watches how long everything takes. One timer for all of them:
// waiting is counted in seconds, and a request that is answered in time costs nothing.
import type { Clock } from "../../core/clock.ts";
import type { ServedConnection, Upstream } from "../engine.ts";
import type { ConnectionContext, Direction } from "../exchange.ts";
import type { UpstreamPool as Http1Pool } from "../http1/upstream-pool.ts";
import { sweepPeriodMs, UpstreamPools } from "../upstream-pools.ts";
import { ClientConnection, type ClientEngine } from "./client-connection.ts";
import type { Http2Timeouts } from "./passage.ts";
import { type ServeCarried, Trunk } from "./trunk.ts";
import { Trunks } from "./trunks.ts";
import { UpstreamPool } from "./upstream-pool.ts";

/** Idle time after which a connection to an upstream is closed, ms. */
const UPSTREAM_IDLE_MS = 60_000;

/** The defaults, ms. */
export const HTTP2_TIMEOUTS: Http2Timeouts = { headMs: 15_000, stallMs: 60_000, queueMs: 10_000, discardMs: 2_000 };

/** The other half of the engine: has the pools of upstreams that speak HTTP/1.1, and serves what comes on trunks. */
export interface Http1Half {
  poolFor(upstream: Upstream): Http1Pool;
  readonly serveOn: ServeCarried;
}

/** The HTTP/2 half of the splice engine. */
export class SpliceHttp2 implements ClientEngine {
  readonly timeouts: Http2Timeouts;
  readonly clock: Clock;
  nowMonoMs: number;
  readonly #clients = new Set<ClientConnection>();
  readonly #pools: UpstreamPools<UpstreamPool>;
  readonly #sweeping: { cancel(): void };
  readonly #http1: Http1Half;

  constructor(clock: Clock, http1: Http1Half, timeouts: Partial<Http2Timeouts> = {}) {
    this.timeouts = { ...HTTP2_TIMEOUTS, ...timeouts };
    this.clock = clock;
    this.#http1 = http1;
    this.nowMonoMs = clock.monoMs();
    this.#pools = new UpstreamPools((upstream) => new UpstreamPool(upstream, this, UPSTREAM_IDLE_MS));
    this.#sweeping = clock.every(sweepPeriodMs({ ...this.timeouts }), () => this.#sweep());
  }

  monoMs(): number {
    return this.clock.monoMs();
  }

  serve(served: ServedConnection): void {
    const client = served.isTrunk === true ? new Trunk(served, this, this.#http1.serveOn) : new ClientConnection(served, this);
    this.#clients.add(client);
    client.start();
  }

  poolFor(upstream: Upstream): UpstreamPool {
    return this.#pools.of(upstream);
  }

  /** Trunks for a pool of connections of HTTP/1.1; whose they are is told when one is opened. */
  trunks(upstream: () => Upstream, onLeaving: () => void): Trunks {
    return new Trunks(this, upstream, onLeaving);
  }

  http1PoolFor(upstream: Upstream): Http1Pool {
    return this.#http1.poolFor(upstream);
  }

  forget(client: ClientConnection): void {
    this.#clients.delete(client);
  }

  drain(direction: Direction): void {
    for (const client of this.#clients) if (client.served.context.direction === direction) client.drain();
  }

  retire(context: ConnectionContext): void {
    for (const client of this.#clients) if (client.served.context === context) client.drain();
  }

  close(): void {
    this.#sweeping.cancel();
    for (const client of this.#clients) client.close();
    this.#pools.close();
  }

  #sweep(): void {
    this.nowMonoMs = this.clock.monoMs();
    for (const client of this.#clients) client.check();
    this.#pools.sweep(this.nowMonoMs);
  }
}
