// One request of an HTTP/1.1 client on a stream of an upstream that speaks HTTP/2 (RFC 9113 section 8.1): the wait for a connection, the content as DATA, and the
// answer, given to the passage as it knows answers. Owns the stream and what its windows hold up: the client is not read while too much waits for the
// upstream's window, and the stream's own window is given back only as the client takes what came.
import type { HttpHandler } from "../engine.ts";
import type { Exchange, Refusal } from "../exchange.ts";
import { refuse } from "../exchange.ts";
import { FlatFields, flattened, NO_EDIT } from "../fields.ts";
import { H2_ERROR } from "../http2/frames.ts";
import { type HeaderList, MAX_HEADER_LIST_BYTES } from "../http2/header-list.ts";
import type { ByteSource, Stream, StreamTaker } from "../http2/stream.ts";
import type { UpstreamConnection } from "../http2/upstream-connection.ts";
import type { ConnectionTaker, UpstreamPool } from "../http2/upstream-pool.ts";
import { flush } from "../transport/outgoing.ts";
import type { AnswerBody, AnswerHead } from "./answer-head.ts";
import { type BodyReader, hasForbidden } from "./body-reader.ts";
import { BODY, type BodyKind } from "./framing.ts";
import { Http2AnswerHead, putRequestHead } from "./http2-heads.ts";
import type { RequestReader } from "./request-reader.ts";
import { detailOf } from "./strictness.ts";

/** Bytes of a request that may wait for the upstream's window before its client is not read any more; what one read brings is added. */
const MAX_WAITING_BYTES = 64 * 1024;

const NO_BYTES = Buffer.alloc(0);
const NO_FIELDS: readonly string[] = [];

/** Takes the answers to one request. All calls come from the event loop, or from within {@link Http2Request.connect}. */
export interface StreamAnswerTaker {
  readonly method: string;
  /** True while the client takes no more. */
  readonly isClientBlocked: boolean;
  /** A stream may be opened: now, by {@link Http2Request.send}. */
  onStreamReady(request: Http2Request, connection: UpstreamConnection): void;
  onNoConnection(failure: Refusal): void;
  onInterim(answer: AnswerHead): void;
  onAnswerHead(answer: AnswerHead, body: AnswerBody): void;
  onAnswerBytes(bytes: Buffer, start: number, end: number): void;
  /** The answer is complete. */
  onStreamAnswered(body: AnswerBody): void;
  /** What waited for the upstream's window has left. */
  onUpstreamDrain(): void;
  /** No answer comes, or no more of it. `isUnprocessed`: the upstream has not looked at the request (RFC 9113 section 8.7). */
  onStreamLost(failure: Refusal, isUnprocessed: boolean): void;
}

/** A request on its way; one object for each attempt. */
export class Http2Request implements ConnectionTaker, StreamTaker, ByteSource {
  /** True while so much waits for the upstream's window that the client is not to be read. */
  isBlocked = false;
  /** Bytes that wait for the upstream's window. */
  pendingBytes = 0;
  /** True once the answer has said that nothing follows, though its stream has not ended. */
  isEndDue = false;
  /** True once content was sent: what of it is not kept elsewhere is gone. */
  hasSentContent = false;
  readonly #taker: StreamAnswerTaker;
  readonly #handler: HttpHandler;
  /** The request's body, as it is read from the client. */
  readonly #content: BodyReader;
  readonly #body: { kind: BodyKind; trailers: readonly string[] } = { kind: BODY.none, trailers: NO_FIELDS };
  /** Set exactly while a connection is awaited. */
  #pool: UpstreamPool | null = null;
  /** Set exactly from {@link send} to the end of the answer. */
  #stream: Stream | null = null;
  #hasEnded = false;
  /** Bytes of the answer that the client has not taken, and whose window is not given back. */
  #heldBytes = 0;
  /** What the interim answers count as, in octets. */
  #interimBytes = 0;

  constructor(taker: StreamAnswerTaker, handler: HttpHandler, content: BodyReader) {
    this.#taker = taker;
    this.#handler = handler;
    this.#content = content;
  }

  // The request.

  /** Asks for a connection; the taker is called, at once or later. */
  connect(pool: UpstreamPool): void {
    this.#pool = pool;
    const connection = pool.take(this);
    if (connection !== null) this.onConnection(connection);
  }

  onConnection(connection: UpstreamConnection): void {
    this.#pool = null;
    this.#taker.onStreamReady(this, connection);
  }

  onNoConnection(failure: Refusal): void {
    this.#pool = null;
    this.#taker.onNoConnection(failure);
  }

  /** Opens a stream, and sends the head and what is there of the content: `held` is all of it, null where it is forwarded as it comes. */
  send(connection: UpstreamConnection, request: RequestReader, exchange: Exchange, held: Buffer | null): void {
    const isEnd = this.#content.kind === BODY.none;
    const stream = connection.open(this);
    stream.source = this;
    this.#stream = stream;
    this.#hasEnded = isEnd;
    putRequestHead(connection.heads, request, exchange, { id: stream.id, isEnd, expects: held === null });
    if (isEnd) return stream.endLocal();
    if (held !== null) this.#sendContent(held, 0, held.length);
    if (this.#content.isDone) this.#sendEnd();
  }

  /** Forwards bytes[at..end) of the body, as far as they are of it; returns how far, or -1 when they can't be one. */
  forward(bytes: Buffer, at: number, end: number): number {
    const next = this.#content.advance(bytes, at, end, this.#sendContent);
    if (next !== -1 && this.#content.isDone) this.#sendEnd();
    return next;
  }

  /** Content without chunk framing. */
  readonly #sendContent = (bytes: Buffer, start: number, end: number): void => {
    if (start === end) return;
    this.hasSentContent = true;
    // The end of a body with a length is known with its last byte; that of a chunked one is not.
    this.#hasEnded = this.#content.kind === BODY.length && this.#content.isDone;
    this.#stream?.sendData(bytes, start, end, this.#hasEnded);
  };

  #sendEnd(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    const trailers = this.#handler.trailers(this.#content.trailers);
    if (trailers.length > 0) this.#stream?.sendTrailers(new FlatFields(trailers), NO_EDIT);
    else this.#stream?.sendData(NO_BYTES, 0, 0, true);
  }

  holdUp(bytes: number): void {
    this.pendingBytes += bytes;
    if (this.pendingBytes > MAX_WAITING_BYTES) this.isBlocked = true;
  }

  release(bytes: number): void {
    this.pendingBytes -= bytes;
  }

  credit(): void {
    if (!this.isBlocked || this.pendingBytes * 2 > MAX_WAITING_BYTES) return;
    this.isBlocked = false;
    this.#taker.onUpstreamDrain();
  }

  onSent(): void {}

  // The answer.

  onHead(stream: Stream, head: HeaderList, isEnd: boolean): void {
    if (!stream.hasHead) return this.#onInterim(head);
    const answer = new Http2AnswerHead(head, this.#taker.method, isEnd);
    if (answer.isFlawed) return this.#fail("the answer's content-length is wrong");
    stream.expectedBytes = answer.expectedBytes;
    this.#body.kind = answer.bodyKind;
    this.#taker.onAnswerHead(answer, this.#body);
    if (this.#stream === null) return flushSoon(); // it is sent again
    if (isEnd) return this.#end();
    this.isEndDue = answer.bodyKind === BODY.none;
    flushSoon();
  }

  /** Takes an answer that has said that nothing follows for complete: for its client it is. */
  endNow(): void {
    this.#end();
  }

  /** Without a bound, interim answers would pile up in front of a client that does not read: heads know no window. */
  #onInterim(head: HeaderList): void {
    this.#interimBytes += head.bytes;
    if (this.#interimBytes > MAX_HEADER_LIST_BYTES) return this.#fail("interim answers without end");
    this.#taker.onInterim(new Http2AnswerHead(head, this.#taker.method, false));
    flushSoon();
  }

  onData(stream: Stream, bytes: Buffer, start: number, end: number, isEnd: boolean): void {
    this.#taker.onAnswerBytes(bytes, start, end);
    if (isEnd) return this.#end();
    if (this.#taker.isClientBlocked) {
      this.#heldBytes += end - start;
      stream.holdUp(end - start);
    } else stream.credit(end - start);
    flushSoon();
  }

  /** The client takes more again: so may the upstream send. */
  onClientDrain(): void {
    const stream = this.#stream;
    const held = this.#heldBytes;
    if (stream === null || held === 0) return;
    this.#heldBytes = 0;
    stream.release(held);
    stream.credit(held);
  }

  onTrailers(_stream: Stream, trailers: HeaderList): void {
    const fields = flattened(trailers);
    if (hasForbidden(fields)) return this.#fail(detailOf("trailer_forbidden"));
    this.#body.trailers = fields;
    this.#end();
  }

  #end(): void {
    this.#taker.onStreamAnswered(this.#body);
  }

  // How it ends.

  onReset(_stream: Stream, code: number, isUnprocessed: boolean): void {
    this.#letGo();
    this.#taker.onStreamLost(refuse("upstream_reset", `stream closed with code ${code}`), isUnprocessed);
    flush();
  }

  #fail(detail: string): void {
    this.#taker.onStreamLost(refuse("upstream_reset", detail), false);
    flush();
  }

  /** Says nothing more to its taker. What of the request is not through by now is not sent: its answer is complete, or nobody waits for one. */
  leave(): void {
    this.#pool?.cancel(this);
    this.#pool = null;
    this.#letGo()?.reset(H2_ERROR.cancel);
  }

  #letGo(): Stream | null {
    const stream = this.#stream;
    this.#stream = null;
    if (stream === null) return null;
    stream.taker = null;
    stream.source = null;
    if (this.#heldBytes > 0) stream.release(this.#heldBytes);
    this.#heldBytes = 0;
    return stream;
  }
}

let isFlushDue = false;

/** Writes what is put together when all frames of this read are taken: a head and the content behind it leave together. */
function flushSoon(): void {
  if (isFlushDue) return;
  isFlushDue = true;
  queueMicrotask(flushNow);
}

function flushNow(): void {
  isFlushDue = false;
  flush();
}
