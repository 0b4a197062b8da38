// The HTTP/2 connections to one upstream. Few: what shares a connection shares its system calls and TLS records. A further one is dialled when those that are open
// have many streams, and streams wait when all of them have as many as their peer allows. Bounded: in connections, and in requests that wait.
//
// HOT PATH: taking a connection is a look at each of at most eight.
import type { Upstream, UpstreamConnection as Dialled } from "../engine.ts";
import { type Refusal, refuse } from "../exchange.ts";
import { failureOf } from "../upstream-failure.ts";
import type { ConnectionEngine } from "./connection.ts";
import { type ConnectionKeeper, UpstreamConnection } from "./upstream-connection.ts";

/** Connections to one upstream on which streams are opened. */
const MAX_CONNECTIONS = 8;
/** Streams on each open connection from which on another one is dialled. */
const BUSY_STREAMS = 128;
/** Requests that wait for a connection to one upstream; more are refused as `overloaded`. */
const MAX_WAITING = 4_096;
/** Longest wait for a new peer's SETTINGS, ms: a stream beyond what it announces would be refused. */
const SETTINGS_WAIT_MS = 1_000;

/** A request that wants a connection. Exactly one of both is called, later, unless it is cancelled before. */
export interface ConnectionTaker {
  onConnection(connection: UpstreamConnection): void;
  onNoConnection(failure: Refusal): void;
}

/** The connections to one upstream. */
export class UpstreamPool implements ConnectionKeeper {
  /** Replaced when the same endpoint is seen with new details. */
  upstream: Upstream;
  /** True once the engine has let go of it. */
  isClosed = false;
  readonly #engine: ConnectionEngine;
  readonly #idleMs: number;
  /** All that are not closed yet; those of them that streams may be opened on. */
  readonly #all = new Set<UpstreamConnection>();
  readonly #ready: UpstreamConnection[] = [];
  #dialling = 0;
  readonly #waiting: ConnectionTaker[] = [];

  constructor(upstream: Upstream, engine: ConnectionEngine, idleMs: number) {
    this.upstream = upstream;
    this.#engine = engine;
    this.#idleMs = idleMs;
  }

  /** True when nothing is open, dialled or awaited. */
  get isEmpty(): boolean {
    return this.#all.size === 0 && this.#dialling === 0;
  }

  /** A connection with room, or null: then one is dialled or awaited, and the taker is called. */
  take(taker: ConnectionTaker): UpstreamConnection | null {
    const best = this.#leastLoaded();
    if (best === null || best.streams.size >= BUSY_STREAMS) this.#dialMore();
    if (best !== null) return best;
    if (this.#waiting.length < MAX_WAITING) this.#waiting.push(taker);
    else
      queueMicrotask(() =>
        taker.onNoConnection(refuse("overloaded", `${MAX_WAITING} requests wait for a connection`, ["retry-after", "1"])),
      );
    return null;
  }

  #leastLoaded(): UpstreamConnection | null {
    let best: UpstreamConnection | null = null;
    for (let index = 0; index < this.#ready.length; index += 1) {
      const candidate = this.#ready[index] as UpstreamConnection;
      if (candidate.hasRoom && (best === null || candidate.streams.size < best.streams.size)) best = candidate;
    }
    return best;
  }

  /** The taker has left. */
  cancel(taker: ConnectionTaker): void {
    const index = this.#waiting.indexOf(taker);
    if (index !== -1) this.#waiting.splice(index, 1);
  }

  /** One at a time: who waits meanwhile waits for it. */
  #dialMore(): void {
    if (this.#dialling > 0 || this.#ready.length >= MAX_CONNECTIONS) return; // those that retire end with their last stream
    this.#dialling += 1;
    this.upstream.dial((error, dialled) => {
      if (dialled !== null) return this.#adopt(dialled);
      this.#dialling -= 1;
      if (this.#ready.length === 0) this.#failWaiting(failureOf(error ?? new Error("no connection")));
    });
  }

  #adopt(dialled: Dialled): void {
    const connection = new UpstreamConnection(dialled, this.#engine, this);
    this.#all.add(connection);
    connection.wire.stream.once("close", () => this.#all.delete(connection));
    connection.start();
    if (this.isClosed) connection.destroy();
  }

  onReady(connection: UpstreamConnection): void {
    if (this.#ready.includes(connection)) return;
    this.#dialling -= 1;
    this.#ready.push(connection);
    this.onRoom(connection);
  }

  onFlood(kind: string): void {
    this.upstream.flooded?.(kind);
  }

  onRoom(connection: UpstreamConnection): void {
    while (this.#waiting.length > 0 && connection.hasRoom && this.#ready.includes(connection))
      (this.#waiting.shift() as ConnectionTaker).onConnection(connection);
    if (this.#waiting.length > 0) this.#dialMore();
  }

  onRetired(connection: UpstreamConnection): void {
    const index = this.#ready.indexOf(connection);
    if (index !== -1) this.#ready.splice(index, 1);
    else {
      this.#dialling -= 1;
      if (this.#ready.length === 0) return this.#failWaiting(refuse("upstream_reset", "the connection ended before its SETTINGS came"));
    }
    // What waited for its streams to end needs a connection of its own now.
    if (this.#waiting.length > 0 && !this.isClosed) this.#dialMore();
  }

  #failWaiting(failure: Refusal): void {
    for (const taker of this.#waiting.splice(0)) taker.onNoConnection(failure);
  }

  /** Closes what has been idle for too long. */
  sweep(): void {
    for (const connection of [...this.#all]) connection.check(this.#idleMs, SETTINGS_WAIT_MS);
  }

  /** Closes everything. */
  close(): void {
    this.isClosed = true;
    for (const connection of [...this.#all]) connection.destroy();
  }
}
