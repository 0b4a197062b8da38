// HTTP/1.1 of the splice engine: the clients' connections, the pools of upstreams, and the sweep that watches how long everything takes. One timer for all
// of them instead of one each: waiting is counted in seconds, and a request that is answered in time costs nothing.
import type { Clock } from "../../core/clock.ts";
import type { ServedConnection, Upstream } from "../engine.ts";
import type { ConnectionContext, Direction } from "../exchange.ts";
import type { Trunks } from "../http2/trunks.ts";
import type { UpstreamPool as Http2Pool } from "../http2/upstream-pool.ts";
import { SocketWire, type Wire, type WireOwner } from "../transport/wire.ts";
import { sweepPeriodMs, UpstreamPools } from "../upstream-pools.ts";
import { ClientConnection, type Http1Engine } from "./client-connection.ts";
import { HTTP1_TIMEOUTS, type Http1Timeouts } from "./patience.ts";
import { RequestReader } from "./request-reader.ts";
import { UpstreamPool } from "./upstream-pool.ts";

/** Readers kept for the next requests: as many as are usually under way at once. */
const MAX_SPARE_READERS = 256;

/** The other half of the engine: has the connections to upstreams that speak HTTP/2, and those that carry connections of HTTP/1.1. */
export interface Http2Half {
  poolFor(upstream: Upstream): Http2Pool;
  trunks(upstream: () => Upstream, onLeaving: () => void): Trunks;
}

/** The HTTP/1.1 half of the splice engine. */
export class SpliceHttp1 implements Http1Engine {
  readonly timeouts: Http1Timeouts;
  nowMonoMs: number;
  readonly #http2: Http2Half;
  readonly #clock: Clock;
  readonly #clients = new Set<ClientConnection>();
  readonly #pools: UpstreamPools<UpstreamPool>;
  readonly #readers: RequestReader[] = [];
  readonly #draining = new Set<Direction>();
  readonly #sweeping: { cancel(): void };

  constructor(clock: Clock, http2: Http2Half, timeouts: Partial<Http1Timeouts> = {}) {
    this.timeouts = { ...HTTP1_TIMEOUTS, ...timeouts };
    this.#http2 = http2;
    this.#clock = clock;
    this.nowMonoMs = clock.monoMs();
    const options = { clock, time: this, idleMs: this.timeouts.upstreamIdleMs, trunks: http2.trunks };
    this.#pools = new UpstreamPools((upstream) => new UpstreamPool(upstream, options));
    this.#sweeping = clock.every(sweepPeriodMs({ ...this.timeouts }), () => this.#sweep());
  }

  serve(served: ServedConnection): void {
    this.serveOn(served, (owner) => new SocketWire(served.stream, owner));
  }

  /** Serves a client on a wire. */
  readonly serveOn = (served: ServedConnection, wireFor: (owner: WireOwner) => Wire): ClientConnection => {
    const client = new ClientConnection(served, this, wireFor);
    this.#clients.add(client);
    client.start();
    return client;
  };

  http2PoolFor(upstream: Upstream): Http2Pool {
    return this.#http2.poolFor(upstream);
  }

  poolFor(upstream: Upstream): UpstreamPool {
    return this.#pools.of(upstream);
  }

  takeReader(isFromMesh: boolean): RequestReader {
    const reader = this.#readers.pop() ?? new RequestReader();
    reader.isFromMesh = isFromMesh;
    return reader;
  }

  giveReader(reader: RequestReader): void {
    reader.clear();
    if (reader.isReusable && this.#readers.length < MAX_SPARE_READERS) this.#readers.push(reader);
  }

  isLeaving({ direction, isRetired }: ConnectionContext): boolean {
    return isRetired === true || this.#draining.has(direction);
  }

  forget(client: ClientConnection): void {
    this.#clients.delete(client);
  }

  drain(direction: Direction): void {
    this.#draining.add(direction);
    for (const client of this.#clients) {
      const { context, isTrunk } = client.served;
      if (context.direction === direction && isTrunk !== true) client.drain(); // a trunk tells those that it carries
    }
  }

  retire(context: ConnectionContext): void {
    for (const client of this.#clients) if (client.served.context === context && client.served.isTrunk !== true) client.drain();
  }

  close(): void {
    this.#sweeping.cancel();
    for (const client of this.#clients) client.close();
    this.#pools.close();
  }

  #sweep(): void {
    this.nowMonoMs = this.#clock.monoMs();
    for (const client of this.#clients) client.check();
    this.#pools.sweep(this.nowMonoMs);
  }
}
