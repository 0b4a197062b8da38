// One request of an HTTP/2 client to an upstream that speaks HTTP/1.1: the head as lines, content by length or in chunks, trailers as a trailer section, and the answer
// back as a header list and plain content (RFC 9113 section 8.3, RFC 9112 sections 6 and 7). Nothing is passed on that one side reads otherwise than the other: what
// could break a line, a length or a host was refused before (RFC 9113 section 10.3).
import { FIELD } from "../../core/field-kind.ts";
import type { Exchange, Refusal } from "../exchange.ts";
import { type FieldView, fieldLines, flattened, type HeadEdit, isLeftOut } from "../fields.ts";
import type { AnswerReader } from "../http1/answer-reader.ts";
import type { BodyReader } from "../http1/body-reader.ts";
import { BODY } from "../http1/framing.ts";
import { detailOf, type StrictnessRule } from "../http1/strictness.ts";
import type { AnswerTaker, UpstreamConnection } from "../http1/upstream-connection.ts";
import type { ConnectionTaker, UpstreamPool } from "../http1/upstream-pool.ts";
import { trailerSection } from "../http1/write-head.ts";
import { parseAuthority } from "../transport/address.ts";
import { putBytes, putText } from "../transport/outgoing.ts";
import { flushAtEndOfTurn } from "../transport/turn.ts";
import { H2_ERROR } from "./frames.ts";
import { HeaderList } from "./header-list.ts";
import { HeaderEntry, INDEXING } from "./hpack/header-entry.ts";
import type { ByteSource, StreamTaker, UpstreamSide } from "./stream.ts";

/** Content of an answer that may wait for its reader before the upstream is not read any more, and less than which it is read again, bytes. */
const MAX_WAITING_BYTES = 256 * 1024;
const FEW_WAITING_BYTES = 64 * 1024;

/** Who asked for the call: is told when there is a connection, or that there is none. */
export interface CallOwner {
  onReady(call: Http1Call): void;
  onNoConnection(failure: Refusal): void;
}

/** Why a request can't go to an HTTP/1.1 upstream; null when it can. */
export function flawForHttp1(exchange: Exchange): string | null {
  if (exchange.method === "CONNECT") return "the port speaks HTTP/1.1: no tunnel leads there from HTTP/2";
  if (exchange.authority !== "" && parseAuthority(exchange.authority) === null) return "the :authority is no host";
  return null;
}

/** A request on an HTTP/1.1 connection, as the upstream's side of a passage. */
export class Http1Call implements UpstreamSide, ConnectionTaker, AnswerTaker {
  taker: StreamTaker | null = null;
  source: ByteSource | null = null;
  expectedBytes = -1;
  hasHead = false;
  isRemoteEnded = false;
  isClosed = false;
  isConnectionLost = false;
  movedMonoMs: number;
  method = "";
  readonly asksForTunnel = false;
  readonly #time: { readonly nowMonoMs: number };
  readonly #owner: CallOwner;
  /** What the request's Content-Length says, or -1: then its content goes in chunks. */
  readonly #length: number;
  #pool: UpstreamPool | null = null;
  #connection: UpstreamConnection | null = null;
  #isLocalEnded = false;
  #isChunking = false;
  /** The head, while it may have to be written again: until something of an answer, or of a body, has moved. */
  #headText: string | null = null;
  #isRetried = false;
  /** Of the request, what the upstream's socket has not taken yet. */
  #owedBytes = 0;
  /** Of the answer, what its reader has not taken yet. */
  #waitingBytes = 0;

  constructor(time: { readonly nowMonoMs: number }, length: number, owner: CallOwner) {
    this.#time = time;
    this.#length = length;
    this.#owner = owner;
    this.movedMonoMs = time.nowMonoMs;
  }

  // The connection.

  connect(pool: UpstreamPool): void {
    this.#pool = pool;
    const connection = pool.take(this);
    if (connection !== null) this.onConnection(connection);
  }

  /** The passage has left before there was a connection. */
  cancel(): void {
    this.#pool?.cancel(this);
  }

  onConnection(connection: UpstreamConnection): void {
    this.#connection = connection;
    if (this.#headText === null) this.#owner.onReady(this);
    else this.#writeAgain(connection, this.#headText);
    flushAtEndOfTurn();
  }

  onNoConnection(failure: Refusal): void {
    if (this.#headText === null) this.#owner.onNoConnection(failure);
    else this.#lose(failure.detail);
  }

  // The request.

  /** Writes the head. `isEnd`: nothing follows it. */
  writeHead(fields: HeaderList, exchange: Exchange, isEnd: boolean): void {
    const connection = this.#connection as UpstreamConnection; // set when it is ready
    this.method = exchange.method;
    const head = this.#head(fields, exchange, isEnd);
    const isSafe = isEnd && IDEMPOTENT.has(exchange.method);
    this.#headText = isSafe ? head : null;
    this.#isLocalEnded = isEnd;
    connection.begin(this);
    putText(connection.wire, head);
    flushAtEndOfTurn();
  }

  #head(fields: HeaderList, exchange: Exchange, isEnd: boolean): string {
    const { edit } = exchange;
    let text = `${exchange.method} ${exchange.path} HTTP/1.1\r\nhost: ${exchange.authority === "" ? exchange.endpointAddress : exchange.authority}\r\n`;
    let cookie = "";
    for (let index = 0; index < fields.count; index += 1) {
      if ((fields.kind(index) & ANOTHER_FRAMING) !== 0 || isLeftOut(fields, index, edit)) continue;
      const name = fields.name(index);
      // RFC 9113 section 8.2.3: crumbs are one field again.
      if (name === "cookie") cookie = cookie === "" ? fields.value(index) : `${cookie}; ${fields.value(index)}`;
      else text += `${name}: ${fields.value(index)}\r\n`;
    }
    if (cookie !== "") text += `cookie: ${cookie}\r\n`;
    text += fieldLines(withoutTe(edit.added));
    if (this.#length >= 0) text += `content-length: ${this.#length}\r\n`;
    else if (!isEnd) {
      this.#isChunking = true;
      text += "transfer-encoding: chunked\r\n";
    } else if (!BODILESS.has(exchange.method)) text += "content-length: 0\r\n";
    return edit.standing === null ? `${text}\r\n` : text + edit.standing.endOfHead.toString("latin1");
  }

  #writeAgain(connection: UpstreamConnection, head: string): void {
    connection.begin(this);
    putText(connection.wire, head);
  }

  sendData(bytes: Buffer, start: number, end: number, isEnd: boolean): void {
    const connection = this.#connection;
    const length = end - start;
    if (connection === null || this.#isLocalEnded) return this.source?.credit(length);
    const { wire } = connection;
    if (length > 0) {
      if (this.#isChunking) putText(wire, `${length.toString(16)}\r\n`);
      putBytes(wire, bytes, start, end);
      if (this.#isChunking) putText(wire, "\r\n");
    }
    if (isEnd) this.#endRequest("\r\n");
    this.#owedBytes += length;
    if (!wire.isBlocked) this.#creditSource();
    this.movedMonoMs = this.#time.nowMonoMs;
    flushAtEndOfTurn();
  }

  sendTrailers(fields: FieldView, edit: HeadEdit): void {
    if (this.#connection === null || this.#isLocalEnded) return;
    const kept: string[] = [];
    for (let index = 0; index < fields.count; index += 1)
      if (!isLeftOut(fields, index, edit)) kept.push(fields.name(index), fields.value(index));
    this.#endRequest(trailerSection(kept));
    flushAtEndOfTurn();
  }

  /** Trailers of content that was announced by length have no place behind it (RFC 9110 section 6.5.1). */
  #endRequest(section: string): void {
    const connection = this.#connection as UpstreamConnection; // looked at by the callers
    if (this.#isChunking) putText(connection.wire, `0\r\n${section}`);
    this.#isLocalEnded = true;
  }

  get isPending(): boolean {
    return this.#owedBytes > 0;
  }

  onUpstreamDrain(): void {
    this.movedMonoMs = this.#time.nowMonoMs;
    this.#creditSource();
  }

  #creditSource(): void {
    const bytes = this.#owedBytes;
    this.#owedBytes = 0;
    if (bytes > 0) this.source?.credit(bytes);
  }

  // The answer.

  onInterim(answer: AnswerReader): void {
    const head = listOf(answer.status, answer.fields);
    this.taker?.onHead(this, head, false);
  }

  onAnswerHead(answer: AnswerReader, body: BodyReader): void {
    this.#headText = null;
    this.hasHead = true;
    this.movedMonoMs = this.#time.nowMonoMs;
    const head = listOf(answer.status, answer.fields);
    if (body.isDone) this.isRemoteEnded = true;
    if (head.isTooLarge || head.flaw !== null) return this.#fail(head.flaw ?? "the head of the answer has too many fields or octets");
    if (body.isDone) this.#closeWhenEnded();
    this.taker?.onHead(this, head, body.isDone);
  }

  readonly onAnswerContent = (bytes: Buffer, start: number, end: number): void => {
    if (end === start || this.isClosed) return;
    this.movedMonoMs = this.#time.nowMonoMs;
    this.#waitingBytes += end - start;
    this.taker?.onData(this, bytes, start, end, false);
    if (this.#waitingBytes > MAX_WAITING_BYTES) this.#connection?.wire.pause();
  };

  onAnswerBytes(): void {} // content comes without its framing

  onAnswerEnd(connection: UpstreamConnection, body: BodyReader): void {
    if (this.#connection === null) return; // it was reset
    this.#connection = null;
    // One whose request is not whole yet would take the next request for the rest of its body.
    if (this.#isLocalEnded) this.#pool?.release(connection);
    else connection.destroy();
    const wasEnded = this.isRemoteEnded;
    this.isRemoteEnded = true;
    this.isClosed = true;
    if (wasEnded) return;
    const trailers = body.kind === BODY.chunked ? body.trailers : NO_TRAILERS;
    if (trailers.length === 0) this.taker?.onData(this, NO_BYTES, 0, 0, true);
    else this.taker?.onTrailers(this, listOfFlat(trailers));
  }

  /** An answer without content ends within its head: the taker, which looks at it then, must see both ends. */
  #closeWhenEnded(): void {
    if (this.#isLocalEnded) this.isClosed = true;
  }

  /** The answer can't be passed on. */
  #fail(detail: string): void {
    const { taker } = this;
    this.reset();
    taker?.onReset(this, H2_ERROR.internalError, false, detail);
  }

  onAnswerFlaw(rule: StrictnessRule): void {
    this.#connection = null;
    this.#lose(detailOf(rule));
  }

  /** A pooled connection that its owner was just closing: what can be sent again without harm is, once (RFC 9112 section 9.3.1). */
  onUpstreamLost(wasSilent: boolean): void {
    const wasReused = (this.#connection?.requests ?? 0) > 1;
    this.#connection = null;
    if (wasSilent && wasReused && !this.#isRetried && this.#headText !== null) {
      this.#isRetried = true;
      this.#pool?.takeNew(this);
    } else this.#lose(wasSilent ? "the connection ended before an answer" : detailOf("answer_cut_off"));
  }

  #lose(detail: string): void {
    const { taker } = this;
    this.isClosed = true;
    this.isConnectionLost = true;
    taker?.onReset(this, H2_ERROR.internalError, false, detail);
  }

  // What its taker says.

  reset(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.taker = null;
    this.#pool?.cancel(this);
    this.#connection?.destroy();
    this.#connection = null;
  }

  credit(bytes: number): void {
    this.#waitingBytes -= bytes;
    if (this.#waitingBytes <= FEW_WAITING_BYTES) this.#connection?.wire.resume();
  }

  holdUp(): void {} // the connection is one request's alone: its own pause holds it up

  release(): void {}

  // Nothing asks for a tunnel.

  onSwitched(): void {}

  onTunnelBytes(): void {}

  onTunnelEnd(): void {}

  onTunnelOver(): void {}
}

const NO_BYTES = Buffer.alloc(0);
const NO_TRAILERS: readonly string[] = [];

/** Fields that say how content is framed, or whom a request is for: this hop says so itself. */
const ANOTHER_FRAMING = FIELD.contentLength | FIELD.host | FIELD.te;

/** Methods that may be sent again (RFC 9110 section 9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);
/** Methods that have no content unless they say so (RFC 9110 section 8.6). */
const BODILESS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "DELETE"]);

/** `te: trailers` would have to be named by Connection (RFC 9110 section 10.1.4), and nobody behind it asked. */
function withoutTe(added: readonly string[]): readonly string[] {
  const at = added.indexOf("te");
  return at === -1 ? added : [...added.slice(0, at), ...added.slice(at + 2)];
}

/** Fields of an answer that are of its connection, or frame it. */
const CONNECTION_FIELDS = FIELD.connection | FIELD.transferEncoding | FIELD.upgrade | FIELD.te;
const CONNECTION_NAMES: ReadonlySet<string> = new Set(["keep-alive", "proxy-connection"]);

/** The head of an answer as HTTP/2 has it: names in lower case, nothing of the connection. */
function listOf(status: number, fields: FieldView): HeaderList {
  const list = new HeaderList();
  list.add(new HeaderEntry(":status", String(status), INDEXING.indexed));
  addFields(list, flattened(fields), fields);
  return list;
}

function addFields(list: HeaderList, flat: readonly string[], fields: FieldView): void {
  for (let index = 0; index < fields.count; index += 1) {
    if ((fields.kind(index) & CONNECTION_FIELDS) !== 0) continue;
    const name = (flat[2 * index] as string).toLowerCase();
    if (!CONNECTION_NAMES.has(name)) list.add(new HeaderEntry(name, flat[2 * index + 1] as string, INDEXING.indexed));
  }
}

function listOfFlat(flat: readonly string[]): HeaderList {
  const list = new HeaderList();
  for (let index = 0; index < flat.length; index += 2)
    list.add(new HeaderEntry((flat[index] as string).toLowerCase(), flat[index + 1] as string, INDEXING.indexed));
  return list;
}
