// One HTTP/2 connection to an upstream: opens streams for requests and reads their answers. Who gets a stream, and on which of several connections, is the pool's
// business; what is done with an answer is the passage's.
import type { UpstreamConnection as Dialled } from "../engine.ts";
import { type ConnectionEngine, Http2Connection } from "./connection.ts";
import { H2_ERROR, MAX_31_BIT, PREFACE, SETTING } from "./frames.ts";
import { type HeaderList, MAX_HEADER_LIST_BYTES } from "./header-list.ts";
import { Stream, type StreamTaker } from "./stream.ts";

/** Streams on one connection, whatever its peer allows. */
const MAX_STREAMS = 1_000;
/**
 * An upstream with streams that says nothing is asked for a sign of life, and has so long to give it, ms. Who is no sidecar may be a server of gRPC, which hangs up on
 * peers that ask more than every five minutes while nothing else is sent (gRFC A8, "too_many_pings").
 */
const SILENT_MS = { mesh: 10_000, plain: 330_000 } as const;
const PONG_MS = 10_000;
/** A frame or header section of an answer that takes longer holds up all others, ms. */
const UNFINISHED_MS = 15_000;
/** Longest rest of a request whose client has its answer and is gone, ms. */
const LEFT_MS = 10_000;
/**
 * Streams reset on one connection before it is left for another: nghttp2 cuts a peer off that resets a thousand at once, and all clients would pay for what one of
 * them does.
 */
const MAX_RESETS = 500;

/** What a connection tells its pool. */
export interface ConnectionKeeper {
  /** Its SETTINGS have come: it may be used. */
  onReady(connection: UpstreamConnection): void;
  /** A stream is over: another may be opened. */
  onRoom(connection: UpstreamConnection): void;
  /** It was cut off for more frames of one kind than its answers warrant. */
  onFlood(kind: string): void;
  /** No stream may be opened on it any more. Once. */
  onRetired(connection: UpstreamConnection): void;
}

/** An open connection to an upstream. */
export class UpstreamConnection extends Http2Connection {
  readonly dialled: Dialled;
  /** When its last stream ended, or its first was awaited, monotonic ms of the sweep. */
  idleSinceMonoMs: number;
  readonly #keeper: ConnectionKeeper;
  readonly #openedMonoMs: number;
  #nextId = 1;
  #pingedMonoMs = 0;
  #resets = 0;

  constructor(dialled: Dialled, engine: ConnectionEngine, keeper: ConnectionKeeper, atWork: { readonly size: number } | null = null) {
    super(dialled.kind === "mesh" ? dialled.mesh.socket : dialled.stream, engine, atWork);
    this.dialled = dialled;
    this.#keeper = keeper;
    this.idleSinceMonoMs = engine.nowMonoMs;
    this.#openedMonoMs = engine.nowMonoMs;
  }

  start(): void {
    this.greet(PREFACE, SETTINGS);
    this.wire.start();
  }

  /** True when a stream may be opened. */
  get hasRoom(): boolean {
    return (
      !this.isLeaving && !this.isOver && this.wire.isWritable && this.streams.size < MAX_STREAMS && this.streams.size < this.peerMaxStreams
    );
  }

  /** Opens a stream, on which the taker then writes. Only while it {@link hasRoom}. */
  open(taker: StreamTaker): Stream {
    const stream = new Stream(this, this.#nextId, taker);
    this.#nextId += 2;
    this.streams.add(stream);
    if (this.#nextId > MAX_31_BIT) this.#retire();
    return stream;
  }

  override writeReset(id: number, code: number): void {
    super.writeReset(id, code);
    this.#resets += 1;
    if (this.#resets >= MAX_RESETS) this.#retire();
  }

  protected override onHead(id: number, head: HeaderList, isEnd: boolean): void {
    const stream = this.streams.get(id);
    if (stream === null) return this.onStrayHead(id);
    if (stream.hasHead) return this.takeTrailers(stream, head, isEnd);
    const flaw = flawOfAnswer(head, isEnd);
    if (flaw !== null) return this.failStream(stream, H2_ERROR.protocolError, flaw);
    stream.movedMonoMs = this.nowMonoMs;
    stream.hasHead = !isInterim(head);
    const { taker } = stream;
    if (isEnd) stream.endRemote();
    taker?.onHead(stream, head, isEnd);
  }

  protected override isIdle(id: number): boolean {
    return (id & 1) === 0 || id >= this.#nextId;
  }

  protected override get lastTakenId(): number {
    return 0; // servers open no streams: we refuse pushes
  }

  protected override onSettings(): void {
    this.#keeper.onReady(this);
    this.#keeper.onRoom(this);
  }

  protected override onPong(): void {
    this.#pingedMonoMs = 0;
  }

  protected override onPeerReset(): void {}

  /** Each of its requests says what became of it. */
  protected override onFlaw(_code: number, _detail: string, flood: string | null): void {
    if (flood !== null) this.#keeper.onFlood(flood);
  }

  protected override onStreamFlaw(): void {}

  /** Streams above the last one were not looked at; the others go on. */
  protected override onGoaway(lastId: number): void {
    this.#retire();
    for (const stream of this.streams.all()) {
      if (stream.id <= lastId) continue;
      const { taker } = stream;
      stream.abandon();
      taker?.onReset(stream, H2_ERROR.refusedStream, true);
    }
    this.#endWhenEmpty();
  }

  protected override onStreamOver(): void {
    if (this.streams.size === 0) this.idleSinceMonoMs = this.nowMonoMs;
    if (this.isLeaving) this.#endWhenEmpty();
    else this.#keeper.onRoom(this);
  }

  #endWhenEmpty(): void {
    if (this.streams.size > 0 || this.isOver) return;
    this.frames.goaway(0, H2_ERROR.noError);
    this.end();
  }

  #retire(): void {
    if (this.isLeaving) return;
    this.isLeaving = true;
    this.#keeper.onRetired(this);
  }

  /** Opens no further streams, and ends when those that are open have ended. */
  retire(): void {
    this.#retire();
    this.#endWhenEmpty();
  }

  protected override end(): void {
    this.#retire();
    super.end();
  }

  override destroy(): void {
    this.#retire();
    super.destroy();
  }

  override onClose(): void {
    this.#retire();
    super.onClose();
  }

  /** A request that nobody watches any more goes on only while its upstream takes it. */
  #checkLeft(): void {
    for (const stream of this.streams.all())
      if (stream.taker === null && this.nowMonoMs - stream.movedMonoMs >= LEFT_MS) stream.reset(H2_ERROR.noError);
  }

  /** Looks at how long things have taken; called by the pool's sweep. */
  check(idleMs: number, settingsMs: number): void {
    this.#checkLeft();
    if (this.isOver) return this.checkLinger();
    const now = this.nowMonoMs;
    this.checkUnfinished(UNFINISHED_MS);
    if (this.isOver) return;
    if (!this.hasPeerSettings && now - this.#openedMonoMs >= settingsMs) this.#keeper.onReady(this); // it may never send them
    if (this.streams.size === 0) {
      if (now - this.idleSinceMonoMs >= idleMs) this.retire();
    } else if (this.#pingedMonoMs > this.heardMonoMs) {
      if (now - this.#pingedMonoMs >= PONG_MS) this.destroy();
    } else if (now - this.heardMonoMs >= SILENT_MS[this.dialled.kind]) {
      this.#pingedMonoMs = now;
      this.frames.ping();
    }
  }
}

const SETTINGS = [
  [SETTING.enablePush, 0],
  [SETTING.maxHeaderListSize, MAX_HEADER_LIST_BYTES],
] as const;

function isInterim(head: HeaderList): boolean {
  return head.status?.value.charCodeAt(0) === 0x31; // 1xx
}

/** RFC 9113 section 8.3.2; 101 is of HTTP/1.1 (section 8.6). */
function flawOfAnswer(head: HeaderList, isEnd: boolean): string | null {
  if (head.isTooLarge) return "the head of the answer has too many fields or octets";
  if (head.flaw !== null) return head.flaw;
  if (head.hasRequestPseudo) return "a pseudo-header field of requests in an answer";
  if (head.status === null) return "no :status";
  const { value } = head.status;
  if (!isStatus(value) || value === "101") return `the :status is ${JSON.stringify(value.slice(0, 10))}`;
  return isEnd && isInterim(head) ? "an interim answer that ends the stream" : null;
}

/** Three digits, 100 to 599. */
function isStatus(value: string): boolean {
  if (value.length !== 3) return false;
  const first = value.charCodeAt(0);
  return first >= 0x31 && first <= 0x35 && isDigit(value.charCodeAt(1)) && isDigit(value.charCodeAt(2));
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}
