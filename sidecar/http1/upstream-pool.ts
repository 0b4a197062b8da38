// The connections to one upstream: those that wait for a request, and the requests that wait for a connection.
// Idle ones are taken last in, first out, so that what is not needed grows old and is closed. Bounded: in connections, and in requests that wait.
//
// HOT PATH: taking an idle connection is a pop, giving it back a push.
import type { Clock } from "../../core/clock.ts";
import type { Upstream, UpstreamConnection as Dialled } from "../engine.ts";
import { type Refusal, refuse } from "../exchange.ts";
import { failureOf } from "../upstream-failure.ts";
import { UpstreamConnection } from "./upstream-connection.ts";

/** Connections to one upstream; requests beyond them wait. */
const MAX_CONNECTIONS = 1024;
/** Requests that wait for a connection to one upstream; more are refused as `overloaded`. */
const MAX_WAITING = 1024;
/** Idle connections kept; more are closed when they fall idle. */
const MAX_IDLE = 1024;
/** Taken off the idle time that an upstream announces, so that it does not close while a request is on its way. */
const ANNOUNCED_MARGIN_MS = 2_000;

/** A request that wants a connection. Exactly one of both is called, later, unless it is cancelled before. */
export interface ConnectionTaker {
  onConnection(connection: UpstreamConnection): void;
  onNoConnection(failure: Refusal): void;
}

/** The pool of one upstream. */
export class UpstreamPool {
  /** Replaced when the same endpoint is seen with new details. */
  upstream: Upstream;
  readonly #clock: Clock;
  readonly #time: { readonly nowMonoMs: number };
  readonly #idleMs: number;
  readonly #idle: UpstreamConnection[] = [];
  readonly #open = new Set<UpstreamConnection>();
  readonly #waiting: ConnectionTaker[] = [];
  #dialling = 0;
  /** True once the engine has let go of it: whoever remembers it asks for another. */
  isClosed = false;

  /** `time` gives the instant of the last sweep: never later than now, and by less than {@link ANNOUNCED_MARGIN_MS} earlier. */
  constructor(
    upstream: Upstream,
    options: { readonly clock: Clock; readonly time: { readonly nowMonoMs: number }; readonly idleMs: number },
  ) {
    this.upstream = upstream;
    this.#clock = options.clock;
    this.#time = options.time;
    this.#idleMs = options.idleMs;
  }

  /** True when nothing is open, dialled or awaited. */
  get isEmpty(): boolean {
    return this.#open.size === 0 && this.#dialling === 0;
  }

  /** An idle connection, or null: then one is dialled or awaited, and the taker is called. */
  take(taker: ConnectionTaker): UpstreamConnection | null {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (this.#isFresh(idle)) return idle;
      idle.retire();
    }
    this.takeNew(taker);
    return null;
  }

  /** Not closed, and not about to be: an upstream that announced for how long it keeps idle connections is believed. */
  #isFresh(idle: UpstreamConnection): boolean {
    return idle.isReusable && (idle.keepAliveSeconds === -1 || idle.idleUntilMonoMs > this.#time.nowMonoMs);
  }

  /** As {@link take}, for a request whose idle connection turned out to be dead. */
  takeNew(taker: ConnectionTaker): void {
    if (this.#open.size + this.#dialling < MAX_CONNECTIONS) this.#dial(taker);
    else if (this.#waiting.length < MAX_WAITING) this.#waiting.push(taker);
    else taker.onNoConnection(refuse("overloaded", `${MAX_WAITING} requests wait for a connection`, ["retry-after", "1"]));
  }

  /** The taker has left. A connection that is dialled for it goes to the next one. */
  cancel(taker: ConnectionTaker): void {
    const index = this.#waiting.indexOf(taker);
    if (index !== -1) this.#waiting.splice(index, 1);
  }

  /** Takes a connection back after a request. */
  release(connection: UpstreamConnection): void {
    if (!connection.isReusable || this.isClosed) return connection.destroy();
    if (this.#waiting.length > 0) return (this.#waiting.shift() as ConnectionTaker).onConnection(connection);
    if (this.#idle.length >= MAX_IDLE) return connection.retire();
    const announced = connection.keepAliveSeconds === -1 ? this.#idleMs : connection.keepAliveSeconds * 1_000 - ANNOUNCED_MARGIN_MS;
    if (announced <= 0) return connection.retire();
    connection.idleUntilMonoMs = this.#time.nowMonoMs + Math.min(this.#idleMs, announced);
    this.#idle.push(connection);
  }

  /** Closes what has been idle for too long. */
  sweep(nowMonoMs: number): void {
    let kept = 0;
    for (const connection of this.#idle) {
      if (connection.idleUntilMonoMs > nowMonoMs && connection.isReusable) this.#idle[kept++] = connection;
      else connection.retire();
    }
    this.#idle.length = kept;
  }

  /** Closes everything. */
  close(): void {
    this.isClosed = true;
    this.#idle.length = 0;
    for (const connection of this.#open) connection.destroy();
  }

  #dial(taker: ConnectionTaker): void {
    this.#waiting.push(taker);
    this.#dialling += 1;
    this.upstream.dial((error, dialled) => {
      this.#dialling -= 1;
      if (dialled === null) this.#onDialFailed(taker, failureOf(error ?? new Error("no connection")));
      else this.#onDialled(dialled);
    });
  }

  #onDialled(dialled: Dialled): void {
    const connection = new UpstreamConnection(dialled, this.#clock, this.#onClosed);
    this.#open.add(connection);
    this.release(connection);
  }

  /** The request for which it was dialled hears of it, unless another connection came first. */
  #onDialFailed(taker: ConnectionTaker, failure: Refusal): void {
    const index = this.#waiting.indexOf(taker);
    if (index === -1) return;
    this.#waiting.splice(index, 1);
    taker.onNoConnection(failure);
  }

  readonly #onClosed = (connection: UpstreamConnection): void => {
    this.#open.delete(connection);
    const index = this.#idle.indexOf(connection);
    if (index !== -1) this.#idle.splice(index, 1);
    // A request that waited for this one's turn needs a connection of its own now.
    if (this.#waiting.length <= this.#dialling || this.isClosed) return;
    const next = this.#waiting.shift();
    if (next !== undefined) this.#dial(next);
  };
}
