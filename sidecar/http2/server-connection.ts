// The served side of an HTTP/2 connection, whatever is served on it: the preface, which streams a client may open, and how the connection is brought to its end: a
// GOAWAY that warns, a moment for what is on its way, and one that says which request was the last (RFC 9113 section 6.8). What a head begins is its subclass's.
import type { Duplex } from "node:stream";
import { type ConnectionEngine, Http2Connection } from "./connection.ts";
import { FLOOD, type Flood } from "./flood-guard.ts";
import { H2_ERROR, MAX_31_BIT, PREFACE } from "./frames.ts";
import type { HeaderList } from "./header-list.ts";
import { flawOfRequest } from "./request-head.ts";
import { Stream } from "./stream.ts";

/** Streams that one client may have open. To be told in its SETTINGS. */
export const MAX_CONCURRENT_STREAMS = 1_000;
/** Between the two GOAWAYs, when the client does not answer the PING, ms. */
const FAREWELL_MS = 1_000;

/** How long a client may take, ms. */
export interface ServerTimeouts {
  /** Until its preface and SETTINGS have come, and for the rest of a frame. */
  readonly headMs: number;
  /** The rest of a request that was answered already. */
  readonly discardMs: number;
}

/** When a client that says nothing is asked for a sign of life, and how long it has to give it, ms. */
export interface SignOfLife {
  readonly silentMs: number;
  readonly pongMs: number;
}

/** What it needs of whoever accepted it. */
export interface ServerEngine extends ConnectionEngine {
  readonly timeouts: ServerTimeouts;
  /** The connection is gone. */
  forget(connection: ServerConnection): void;
}

const LIFE = { open: 0, leaving: 1, left: 2 } as const;

/** Serves one client. */
export abstract class ServerConnection extends Http2Connection {
  readonly #server: ServerEngine;
  /** Octets of the preface that have come. */
  #prefaceBytes = 0;
  #lastId = 0;
  #life: (typeof LIFE)[keyof typeof LIFE] = LIFE.open;
  #leavingMonoMs = 0;
  readonly #openedMonoMs: number;
  /** When a PING went out that is not answered yet; 0 while none is. */
  #pingedMonoMs = 0;

  protected constructor(stream: Duplex, engine: ServerEngine, atWork: { readonly size: number } | null) {
    super(stream, engine, atWork);
    this.#server = engine;
    this.#openedMonoMs = engine.nowMonoMs;
  }

  // What differs between those who serve.

  /** What the client is told first. */
  protected abstract readonly settings: readonly (readonly [setting: number, value: number])[];
  /** Looked at by each sweep. */
  protected abstract readonly signOfLife: SignOfLife;
  /** A new stream with a well-formed head. */
  protected abstract begin(stream: Stream, head: HeaderList, isEnd: boolean): void;
  /** A new stream with a head of too many fields or octets. */
  protected abstract onLargeHead(stream: Stream, head: HeaderList): void;
  /** Looks at how long a stream has taken. */
  protected abstract checkStream(stream: Stream, nowMonoMs: number, discardMs: number): void;
  /** All bytes of a read are taken. */
  protected onTaken(): void {}

  // Streams.

  start(): void {
    this.greet(NO_BYTES, this.settings);
    this.wire.start();
  }

  protected override take(bytes: Buffer, start: number, end: number): void {
    if (this.#prefaceBytes < PREFACE.length) this.#readPreface(bytes, start, end);
    else this.read(bytes, start, end);
    this.onTaken();
    this.pauseWhenUnread();
  }

  #readPreface(bytes: Buffer, start: number, end: number): void {
    const from = this.#prefaceBytes;
    const length = Math.min(end - start, PREFACE.length - from);
    if (PREFACE.compare(bytes, start, start + length, from, from + length) !== 0)
      return this.fail(H2_ERROR.protocolError, "no HTTP/2 preface");
    this.#prefaceBytes += length;
    if (start + length < end) this.read(bytes, start + length, end);
  }

  protected override onHead(id: number, head: HeaderList, isEnd: boolean): void {
    const known = this.streams.get(id);
    if (known !== null) return this.takeTrailers(known, head, isEnd);
    if ((id & 1) === 0) return this.fail(H2_ERROR.protocolError, `a client's stream has the id ${id}`);
    if (id <= this.#lastId) return this.onStrayHead(id);
    if (this.#life === LIFE.left) return this.#refuseStream(id, FLOOD.stray);
    this.#lastId = id;
    if (this.streams.size >= MAX_CONCURRENT_STREAMS) return this.#refuseStream(id, FLOOD.provokedReset);
    this.guard.earnByStream();
    const stream = new Stream(this, id, null);
    stream.hasHead = true;
    stream.isRemoteEnded = isEnd;
    this.streams.add(stream);
    if (head.isTooLarge) return this.onLargeHead(stream, head);
    const flaw = flawOfRequest(head);
    if (flaw !== null) return this.failStream(stream, H2_ERROR.protocolError, flaw);
    this.begin(stream, head, isEnd);
  }

  /** More streams than it was told of, or later than the last: it may not have heard yet, or may not care. */
  #refuseStream(id: number, kind: Flood): void {
    if (!this.guard.spend(kind)) return this.flooded(kind);
    this.writeReset(id, H2_ERROR.refusedStream);
  }

  protected override isIdle(id: number): boolean {
    return (id & 1) === 0 || id > this.#lastId;
  }

  protected override get lastTakenId(): number {
    return this.#lastId;
  }

  protected override onSettings(): void {}

  protected override onGoaway(): void {} // it will open no more streams, or it will: both is served

  protected override onPong(): void {
    this.#pingedMonoMs = 0;
    if (this.#life === LIFE.leaving) this.#leave();
  }

  // How it ends.

  /** No further requests: says so, and ends when those under way have ended. */
  drain(): void {
    if (this.#life !== LIFE.open || this.isOver) return;
    this.#life = LIFE.leaving;
    this.#leavingMonoMs = this.nowMonoMs;
    // What crosses this on its way is served; the answer to the PING says that nothing does any more.
    this.frames.goaway(MAX_31_BIT, H2_ERROR.noError);
    this.frames.ping();
  }

  #leave(): void {
    this.#life = LIFE.left;
    this.frames.goaway(this.#lastId, H2_ERROR.noError);
    this.onLeft();
    this.#endWhenEmpty();
  }

  /** The client knows that it is to go, and whatever it sent before it did has come. */
  protected onLeft(): void {}

  #endWhenEmpty(): void {
    if (this.#life === LIFE.left && this.streams.size === 0 && !this.isOver) this.end();
  }

  protected override onStreamOver(): void {
    this.#endWhenEmpty();
  }

  override onClose(): void {
    super.onClose();
    this.#server.forget(this);
  }

  /** Cuts it off. */
  close(): void {
    if (!this.isOver) this.frames.goaway(this.#lastId, H2_ERROR.noError);
    this.destroy();
  }

  /** Looks at how long things have taken; called by the engine's sweep. */
  check(): void {
    if (this.isOver) return this.checkLinger();
    const now = this.nowMonoMs;
    const { headMs, discardMs } = this.#server.timeouts;
    if (!this.hasPeerSettings && now - this.#openedMonoMs >= headMs)
      return this.fail(H2_ERROR.settingsTimeout, "no preface or SETTINGS in time");
    if (this.#life === LIFE.leaving && now - this.#leavingMonoMs >= FAREWELL_MS) this.#leave();
    this.checkUnfinished(headMs);
    for (const stream of this.streams.all()) this.checkStream(stream, now, discardMs);
    if (!this.isOver) this.#checkLife(now);
  }

  #checkLife(now: number): void {
    const { silentMs, pongMs } = this.signOfLife;
    if (this.#pingedMonoMs > this.heardMonoMs) {
      if (now - this.#pingedMonoMs >= pongMs) this.destroy();
    } else if (now - this.heardMonoMs >= silentMs) {
      this.#pingedMonoMs = now;
      this.frames.ping();
    }
  }
}

const NO_BYTES = Buffer.alloc(0);
