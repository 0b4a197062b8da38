// The connections to one upstream: those that wait for a request, and the requests that wait for a connection.
// Idle ones are taken last in, first out, so that what is not needed grows old and is closed. Bounded: in connections, and in requests that wait.
// To a mesh peer that knows trunks, connections are streams of a few trunks and opened at once; one trunk is dialled at a time, and who waits meanwhile waits for it.
//
// HOT PATH: taking an idle connection is a pop, giving it back a push.
import type { Clock } from "../../core/clock.ts";
import type { Upstream, UpstreamConnection as Dialled } from "../engine.ts";
import { type Refusal, refuse } from "../exchange.ts";
import type { Trunks } from "../http2/trunks.ts";
import { SocketWire, type Wire, type WireOwner } from "../transport/wire.ts";
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
  readonly #trunks: Trunks;
  #dialling = 0;
  /** True once the upstream has answered with a connection that carries nothing else: then each is dialled by itself. */
  #knowsNoTrunks = false;
  /** True while requests are about to be given what they wait for. */
  #isServing = false;
  /** True once the engine has let go of it: whoever remembers it asks for another. */
  isClosed = false;

  /** `time` gives the instant of the last sweep: never later than now, and by less than {@link ANNOUNCED_MARGIN_MS} earlier. */
  constructor(
    upstream: Upstream,
    options: {
      readonly clock: Clock;
      readonly time: { readonly nowMonoMs: number };
      readonly idleMs: number;
      readonly trunks: (upstream: () => Upstream, onLeaving: () => void) => Trunks;
    },
  ) {
    this.upstream = upstream;
    this.#clock = options.clock;
    this.#time = options.time;
    this.#idleMs = options.idleMs;
    this.#trunks = options.trunks(
      () => this.upstream,
      () => this.#closeIdle(this.#time.nowMonoMs),
    );
  }

  /** True when nothing is open, dialled or awaited. */
  get isEmpty(): boolean {
    return this.#open.size === 0 && this.#dialling === 0 && this.#trunks.isEmpty;
  }

  /** True where connections are streams of trunks. */
  get #usesTrunks(): boolean {
    return this.upstream.mayBeTrunk === true && !this.#knowsNoTrunks;
  }

  /** An idle connection or one opened on a trunk, or null: then one is dialled or awaited, and the taker is called. */
  take(taker: ConnectionTaker): UpstreamConnection | null {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (this.#isFresh(idle)) return idle;
      idle.retire();
    }
    const carried = this.#usesTrunks ? this.#openOnTrunk() : null;
    if (carried === null) this.takeNew(taker);
    return carried;
  }

  /** Not closed, and not about to be: an upstream that announced for how long it keeps idle connections is believed. */
  #isFresh(idle: UpstreamConnection): boolean {
    return idle.isReusable && (idle.keepAliveSeconds === -1 || idle.idleUntilMonoMs > this.#time.nowMonoMs);
  }

  /** As {@link take}, for a request whose idle connection turned out to be dead. */
  takeNew(taker: ConnectionTaker): void {
    if (this.#usesTrunks) {
      if (this.#waiting.length >= MAX_WAITING) return refuseTaker(taker);
      this.#waiting.push(taker);
      this.#serveLater();
    } else if (this.#open.size + this.#dialling < MAX_CONNECTIONS) this.#dial(taker);
    else if (this.#waiting.length < MAX_WAITING) this.#waiting.push(taker);
    else refuseTaker(taker);
  }

  /** Connections are given later than they are asked for. */
  #serveLater(): void {
    if (this.#isServing) return;
    this.#isServing = true;
    queueMicrotask(() => {
      this.#isServing = false;
      this.#serveWaiting();
    });
  }

  #serveWaiting(): void {
    while (this.#waiting.length > 0 && !this.isClosed) {
      if (this.#open.size >= MAX_CONNECTIONS) return; // one that is given back, or ends, is theirs
      const connection = this.#openOnTrunk();
      if (connection === null) return this.#dialTrunk();
      (this.#waiting.shift() as ConnectionTaker).onConnection(connection);
    }
  }

  /** Null when there is no trunk with room, or there are connections enough. */
  #openOnTrunk(): UpstreamConnection | null {
    if (this.#open.size >= MAX_CONNECTIONS) return null;
    if (this.#trunks.wantsMore) this.#dialTrunk();
    return this.#trunks.hasRoom ? this.#connect(true, (owner) => this.#trunks.open(owner)) : null;
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
    this.#closeIdle(nowMonoMs);
    this.#trunks.sweep(this.#idleMs);
  }

  #closeIdle(nowMonoMs: number): void {
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
    this.#trunks.close();
  }

  #dial(taker: ConnectionTaker): void {
    this.#waiting.push(taker);
    this.#dialling += 1;
    this.upstream.dial((error, dialled) => {
      this.#dialling -= 1;
      if (dialled === null) this.#onDialFailed(taker, failureOf(error ?? new Error("no connection")));
      else this.#adopt(dialled);
    });
  }

  #dialTrunk(): void {
    if (this.#dialling > 0) return;
    this.#dialling += 1;
    this.upstream.dial((error, dialled) => {
      this.#dialling -= 1;
      if (dialled === null) {
        if (this.#trunks.hasRoom) return this.#serveWaiting();
        const failure = failureOf(error ?? new Error("no connection"));
        for (const taker of this.#waiting.splice(0)) taker.onNoConnection(failure);
      } else if (dialled.kind === "mesh" && dialled.mesh.alpn === "remora/h1-streams") {
        this.#trunks.adopt(dialled);
        if (this.isClosed) this.#trunks.close();
        this.#serveWaiting();
      } else this.#onNoTrunk(dialled);
    });
  }

  /** The peer knows no trunks: what was dialled is one connection, and whoever waits needs one of his own. */
  #onNoTrunk(dialled: Dialled): void {
    this.#knowsNoTrunks = true;
    this.#adopt(dialled);
    for (const taker of this.#waiting.splice(0)) this.takeNew(taker);
  }

  #adopt(dialled: Dialled): void {
    const stream = dialled.kind === "mesh" ? dialled.mesh.socket : dialled.stream;
    this.release(this.#connect(dialled.kind === "mesh", (owner) => new SocketWire(stream, owner)));
  }

  #connect(isToMesh: boolean, wireFor: (owner: WireOwner) => Wire): UpstreamConnection {
    const connection = new UpstreamConnection(isToMesh, this.#clock, this.#onClosed, wireFor);
    this.#open.add(connection);
    return connection;
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
    if (this.#usesTrunks) return this.#serveLater();
    const next = this.#waiting.shift();
    if (next !== undefined) this.#dial(next);
  };
}

function refuseTaker(taker: ConnectionTaker): void {
  taker.onNoConnection(refuse("overloaded", `${MAX_WAITING} requests wait for a connection`, ["retry-after", "1"]));
}
