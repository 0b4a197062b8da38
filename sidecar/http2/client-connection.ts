// One HTTP/2 connection of a client: each stream that it opens becomes a passage. Owns how many there may be, and how the connection is brought to its end: a
// GOAWAY that warns, a moment for what is on its way, and one that says which request was the last (RFC 9113 section 6.8).
import { FIELD } from "../../core/field-kind.ts";
import type { ServedConnection } from "../engine.ts";
import { type Refusal, refuse } from "../exchange.ts";
import { firstOfKind } from "../fields.ts";
import { type ConnectionEngine, Http2Connection } from "./connection.ts";
import { FLOOD, type Flood } from "./flood-guard.ts";
import { H2_ERROR, MAX_31_BIT, PREFACE, SETTING } from "./frames.ts";
import { type HeaderList, MAX_HEADER_LIST_BYTES } from "./header-list.ts";
import { answerRefusal } from "./local-answer.ts";
import { Passage, type PassageEngine } from "./passage.ts";
import { contentLengthOf, flawOfRequest, Http2RequestHead } from "./request-head.ts";
import { Stream } from "./stream.ts";

/** Streams that one client may have open. */
const MAX_CONCURRENT_STREAMS = 1_000;
/** A stream that is reset this soon was opened for nothing, ms. */
const RAPID_MS = 50;
/** A client that says nothing is asked for a sign of life, and has so long to give it, ms. */
const SILENT_MS = 60_000;
const PONG_MS = 20_000;
/** Between the two GOAWAYs, when the client does not answer the PING, ms. */
const FAREWELL_MS = 1_000;

/** What a client's connection needs of its engine. */
export interface ClientEngine extends PassageEngine, ConnectionEngine {
  /** Monotonic ms, exact. */
  monoMs(): number;
  forget(connection: ClientConnection): void;
}

const LIFE = { open: 0, leaving: 1, left: 2 } as const;

/** Serves one client. */
export class ClientConnection extends Http2Connection {
  readonly served: ServedConnection;
  readonly #engine: ClientEngine;
  /** Octets of the preface that have come. */
  #prefaceBytes = 0;
  #lastId = 0;
  #life: (typeof LIFE)[keyof typeof LIFE] = LIFE.open;
  #leavingMonoMs = 0;
  readonly #openedMonoMs: number;
  /** When a PING went out that is not answered yet; 0 while none is. */
  #pingedMonoMs = 0;
  /** Passages that hold a body which did not end with the bytes its head came with. */
  readonly #holding: Passage[] = [];

  constructor(served: ServedConnection, engine: ClientEngine, atWork: { readonly size: number } | null = null) {
    super(served.stream, engine, atWork);
    this.served = served;
    this.#engine = engine;
    this.#openedMonoMs = engine.nowMonoMs;
  }

  start(): void {
    this.greet(NO_BYTES, SETTINGS);
    this.wire.start();
  }

  protected override take(bytes: Buffer, start: number, end: number): void {
    if (this.#prefaceBytes < PREFACE.length) this.#readPreface(bytes, start, end);
    else this.read(bytes, start, end);
    while (this.#holding.length > 0) (this.#holding.pop() as Passage).holdOn();
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

  /** The body did not come with the head: ask again when all bytes of this read are taken. */
  holdLater(passage: Passage): void {
    this.#holding.push(passage);
  }

  protected override onHead(id: number, head: HeaderList, isEnd: boolean): void {
    const known = this.streams.get(id);
    if (known !== undefined) return this.takeTrailers(known, head, isEnd);
    if ((id & 1) === 0) return this.fail(H2_ERROR.protocolError, `a client's stream has the id ${id}`);
    if (id <= this.#lastId) return this.onStrayHead(id);
    if (this.#life === LIFE.left) return this.#refuseStream(id, FLOOD.stray);
    this.#lastId = id;
    if (this.streams.size >= MAX_CONCURRENT_STREAMS) return this.#refuseStream(id, FLOOD.provokedReset);
    this.guard.earnByStream();
    const stream = new Stream(this, id, null);
    stream.hasHead = true;
    stream.isRemoteEnded = isEnd;
    this.streams.set(id, stream);
    if (head.isTooLarge)
      return this.#refuseHead(stream, head, refuse("header_too_large", "the head of a request has too many fields or octets"));
    const flaw = flawOfRequest(head);
    if (flaw !== null) return this.failStream(stream, H2_ERROR.protocolError, flaw);
    this.begin(stream, head, isEnd);
  }

  /** Begins with a stream whose head is well-formed. */
  protected begin(stream: Stream, list: HeaderList, isEnd: boolean): void {
    const length = (list.kinds & FIELD.contentLength) === 0 ? -1 : contentLengthOf(list);
    stream.expectedBytes = length;
    if (isEnd && length > 0) return this.failStream(stream, H2_ERROR.protocolError, "content-length without content");
    const passage = new Passage(this, stream, this.#engine);
    stream.taker = passage;
    passage.begin(new Http2RequestHead(list));
  }

  /** More streams than it was told of, or later than the last: it may not have heard yet, or may not care. */
  #refuseStream(id: number, kind: Flood): void {
    if (!this.guard.spend(kind)) return this.flooded(kind);
    this.writeReset(id, H2_ERROR.refusedStream);
  }

  /** A request that never became an exchange. */
  #refuseHead(stream: Stream, head: HeaderList, refusal: Refusal): void {
    const { context, handler } = this.served;
    if (!this.guard.spend(FLOOD.largeHead)) return this.flooded(FLOOD.largeHead);
    handler.malformed(context, refusal);
    const grpc = firstOfKind(head, FIELD.contentType)?.startsWith("application/grpc") === true;
    answerRefusal(stream, refusal, { grpc, told: context.peer.told, isHead: false });
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

  protected override onPeerReset(stream: Stream): void {
    const { taker } = stream;
    if (!(taker instanceof Passage) || !taker.isYoungerThan(RAPID_MS)) return;
    if (!this.guard.spend(FLOOD.rapidReset)) this.flooded(FLOOD.rapidReset);
  }

  protected override onFlaw(code: number, detail: string, flood: string | null): void {
    const { context, handler } = this.served;
    const shown = flood === null ? `HTTP/2 error ${code}: ${detail}` : `HTTP/2 flood of ${flood}: ${detail}`;
    handler.malformed(context, refuse(flood === null ? "bad_request" : "overloaded", shown));
    if (flood !== null) handler.flooded(context, flood);
  }

  protected override onStreamFlaw(stream: Stream, code: number, detail: string): void {
    const { context, handler } = this.served;
    handler.malformed(context, refuse("bad_request", `stream ${stream.id}, HTTP/2 error ${code}: ${detail}`));
  }

  // How it ends.

  /** No further requests: says so, and ends when those under way have ended. */
  drain(): void {
    if (this.#life !== LIFE.open || this.isOver) return;
    this.#life = LIFE.leaving;
    this.#leavingMonoMs = this.#engine.nowMonoMs;
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
    this.#engine.forget(this);
  }

  /** Cuts it off. */
  close(): void {
    if (!this.isOver) this.frames.goaway(this.#lastId, H2_ERROR.noError);
    this.destroy();
  }

  /** Looks at how long things have taken; called by the engine's sweep. */
  check(): void {
    if (this.isOver) return this.checkLinger();
    const now = this.#engine.nowMonoMs;
    const { timeouts } = this.#engine;
    if (!this.hasPeerSettings && now - this.#openedMonoMs >= timeouts.headMs)
      return this.fail(H2_ERROR.settingsTimeout, "no preface or SETTINGS in time");
    if (this.#life === LIFE.leaving && now - this.#leavingMonoMs >= FAREWELL_MS) this.#leave();
    this.checkUnfinished(timeouts.headMs);
    for (const stream of [...this.streams.values()]) this.checkStream(stream, now, timeouts.discardMs);
    if (!this.isOver) this.#checkLife(now);
  }

  protected checkStream(stream: Stream, nowMonoMs: number, discardMs: number): void {
    if (stream.taker instanceof Passage) stream.taker.check(nowMonoMs);
    else if (nowMonoMs - stream.movedMonoMs >= discardMs) stream.reset(H2_ERROR.noError);
  }

  #checkLife(now: number): void {
    if (this.#pingedMonoMs > this.heardMonoMs) {
      if (now - this.#pingedMonoMs >= PONG_MS) this.destroy();
    } else if (now - this.heardMonoMs >= SILENT_MS) {
      this.#pingedMonoMs = now;
      this.frames.ping();
    }
  }
}

const NO_BYTES = Buffer.alloc(0);

const SETTINGS = [
  [SETTING.maxConcurrentStreams, MAX_CONCURRENT_STREAMS],
  [SETTING.maxHeaderListSize, MAX_HEADER_LIST_BYTES],
  [SETTING.enableConnectProtocol, 1],
] as const;
