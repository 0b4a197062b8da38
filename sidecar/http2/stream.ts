// One stream of one connection (RFC 9113 section 5): what may still be sent and received on it, and what waits for the peer's window. Frames in and out are the
// connection's; what is sent on it, and who gets what comes, is the passage's.
//
// Flow control is accounted per hop: the window of the stream that bytes come on is given back only as they leave on the stream they go to, so that what a slow
// reader does not take waits with its sender, and at most one window of it here.
//
// HOT PATH: per piece of DATA one copy into the connection's outbox. Only what the peer's window has no room for is kept, as a copy.
import type { FieldView, HeadEdit } from "../fields.ts";
import { ByteQueue } from "./byte-queue.ts";
import type { Http2Connection } from "./connection.ts";
import { DEFAULT_WINDOW_BYTES, H2_ERROR } from "./frames.ts";
import type { HeaderEntry } from "./hpack/header-entry.ts";
import type { HeaderList } from "./header-list.ts";

/** Largest receive window of a stream, bytes: as much as it gets whose bytes leave as fast as they come. */
export const MAX_STREAM_WINDOW_BYTES = 1024 * 1024;

/** Largest receive window of a stream whose reader is slower than its sender, bytes. */
const HELD_UP_WINDOW_BYTES = 256 * 1024;

/** Most octets of a `:status`. */
const STATUS_BYTES = 64;

/** Where bytes come from that are sent on a stream: told as they wait here, leave, or are dropped. */
export interface ByteSource {
  /** So many have to wait. */
  holdUp(bytes: number): void;
  /** So many wait no more. */
  release(bytes: number): void;
  /** So many have left: as many more may come. */
  credit(bytes: number): void;
}

/** The upstream's side of a passage: a stream to it, or what stands for one where it speaks HTTP/1.1. */
export interface UpstreamSide extends ByteSource {
  taker: StreamTaker | null;
  source: ByteSource | null;
  /** What Content-Length promised of what comes, or -1. */
  expectedBytes: number;
  readonly hasHead: boolean;
  readonly isRemoteEnded: boolean;
  readonly isClosed: boolean;
  readonly isPending: boolean;
  /** True when it ended because its connection did. */
  readonly isConnectionLost: boolean;
  readonly movedMonoMs: number;
  sendData(bytes: Buffer, start: number, end: number, isEnd: boolean): void;
  sendTrailers(fields: FieldView, edit: HeadEdit): void;
  reset(code: number): void;
}

/** Gets what comes on a stream. After `onReset`, or the end of both sides, nothing more comes. */
export interface StreamTaker {
  /** An answer's head, also an interim one. Upstream streams only. */
  onHead(stream: UpstreamSide, head: HeaderList, isEnd: boolean): void;
  /** Bytes of content, maybe none; give their window back by {@link Stream.credit} when they have left. */
  onData(stream: UpstreamSide, bytes: Buffer, start: number, end: number, isEnd: boolean): void;
  /** The last of the stream. */
  onTrailers(stream: UpstreamSide, trailers: HeaderList): void;
  /** The peer reset it, broke a rule, or the connection is gone. `isUnprocessed`: the peer says that it has not looked at it (RFC 9113 section 8.7). */
  onReset(stream: UpstreamSide, code: number, isUnprocessed: boolean, detail?: string): void;
  /** Our side has ended in order: its last frame is written. */
  onSent(stream: UpstreamSide): void;
}

/** A stream. */
export class Stream implements UpstreamSide {
  readonly id: number;
  readonly connection: Http2Connection;
  taker: StreamTaker | null;
  /** What the peer lets us send; negative after it made its window smaller. */
  sendWindow: number;
  /** What the peer may send. */
  receiveWindow = DEFAULT_WINDOW_BYTES;
  /** END_STREAM has come; was sent. */
  isRemoteEnded = false;
  isLocalEnded = false;
  /** True once neither side can send anything. */
  isClosed = false;
  /** A head was sent or has come. */
  hasHead = false;
  /** What Content-Length promised of what comes, or -1, and what has come (RFC 9113 section 8.1.1). */
  expectedBytes = -1;
  receivedBytes = 0;
  /** Whose bytes are sent on this one; null while they are the sidecar's own. */
  source: ByteSource | null = null;
  /** When something last moved on it, monotonic ms of the engine's sweep. */
  movedMonoMs: number;
  /** In the connection's queue of those that can send. */
  isQueued = false;
  next: Stream | null = null;
  /** In the connection's table, behind this one in its chain. */
  following: Stream | null = null;
  /** What waits for the window; null until something does. */
  #pending: ByteQueue | null = null;
  #endsAfterPending = false;
  #trailers: { readonly fields: FieldView; readonly edit: HeadEdit } | null = null;
  /** Size of the receive window, and what of it is not given back yet though its bytes have left. */
  #windowBytes = DEFAULT_WINDOW_BYTES;
  #owedBytes = 0;
  /** True when bytes of it had to wait since its window was last given back. */
  #isHeldUp = false;

  constructor(connection: Http2Connection, id: number, taker: StreamTaker | null) {
    this.connection = connection;
    this.id = id;
    this.taker = taker;
    this.sendWindow = connection.peerWindowBytes;
    this.movedMonoMs = connection.nowMonoMs;
  }

  get pendingBytes(): number {
    return this.#pending === null ? 0 : this.#pending.length;
  }

  get isConnectionLost(): boolean {
    return this.connection.isOver;
  }

  /** True while something of it waits. */
  get isPending(): boolean {
    return this.pendingBytes > 0 || this.#endsAfterPending;
  }

  /** Sends the head of an answer, or of an interim one. */
  sendAnswer(status: HeaderEntry | string, fields: FieldView, edit: HeadEdit, isEnd: boolean): void {
    if (this.isClosed || this.isLocalEnded) return;
    const { heads } = this.connection;
    heads.begin(fields, edit, STATUS_BYTES);
    if (typeof status === "string") heads.repeated(":status", status);
    else heads.entry(status);
    heads.fields(fields, edit, 0);
    heads.end(this.id, isEnd);
    if (isEnd) this.endLocal();
  }

  /** Sends bytes[start..end), as far as both windows and the connection let it; the rest waits. */
  sendData(bytes: Buffer, start: number, end: number, isEnd: boolean): void {
    if (this.isClosed || this.isLocalEnded) return this.source?.credit(end - start);
    if (this.isPending) return this.#wait(bytes, start, end, isEnd);
    const { connection } = this;
    const sendable = connection.isBlocked ? 0 : Math.min(this.sendWindow, connection.sendWindow, end - start);
    const to = sendable > 0 ? start + sendable : start;
    const isAll = to === end && (sendable > 0 || start === end);
    if (to > start || isAll) {
      connection.writeData(this, bytes, start, to, isAll && isEnd);
      if (to > start) this.source?.credit(to - start);
      if (isAll && isEnd) this.endLocal();
    }
    if (!isAll) this.#wait(bytes, to, end, isEnd);
  }

  /** Ends with a trailer section, behind what waits. */
  sendTrailers(fields: FieldView, edit: HeadEdit): void {
    if (this.isClosed || this.isLocalEnded) return;
    if (this.isPending) {
      this.#trailers = { fields, edit };
      this.#endsAfterPending = true;
    } else {
      this.connection.writeTrailers(this, fields, edit);
      this.endLocal();
    }
  }

  #wait(bytes: Buffer, start: number, end: number, isEnd: boolean): void {
    if (end > start) {
      this.#pending ??= new ByteQueue();
      this.#pending.push(bytes, start, end);
      this.source?.holdUp(end - start);
    }
    if (isEnd) this.#endsAfterPending = true;
    this.connection.queue(this);
  }

  /** Sends at most `bytes` of what waits; called by the connection while it has room. Returns false when more can't go before the peer or the source says so. */
  sendPending(bytes: number): boolean {
    const { connection } = this;
    const pending = this.#pending;
    if (pending !== null && pending.length > 0) {
      const { front } = pending;
      const sent = Math.min(front.length, bytes, this.sendWindow, connection.sendWindow);
      if (sent <= 0) return false;
      this.movedMonoMs = connection.nowMonoMs;
      const isLast = pending.length === sent && this.#isEndDue;
      connection.writeData(this, front, 0, sent, isLast);
      pending.drop(sent);
      this.source?.release(sent);
      this.source?.credit(sent);
      if (isLast) this.endLocal();
      if (pending.length > 0) return true;
    } else if (this.#isEndDue) {
      connection.writeData(this, NO_BYTES, 0, 0, true);
      this.endLocal();
    }
    this.#sendHeldTrailers();
    return false;
  }

  /** True when what waits ends the stream without trailers. */
  get #isEndDue(): boolean {
    return this.#endsAfterPending && this.#trailers === null;
  }

  #sendHeldTrailers(): void {
    const trailers = this.#trailers;
    if (trailers === null) return;
    this.#trailers = null;
    this.connection.writeTrailers(this, trailers.fields, trailers.edit);
    this.endLocal();
  }

  holdUp(bytes: number): void {
    this.#isHeldUp = true;
    this.connection.hold(bytes);
  }

  release(bytes: number): void {
    this.connection.release(bytes);
  }

  /** Bytes that came on this stream have left, or were thrown away: its peer may send as many more. */
  credit(bytes: number): void {
    if (this.isRemoteEnded || this.isClosed) return;
    this.#owedBytes += bytes;
    if (this.#owedBytes * 2 < this.#windowBytes) return;
    let grown = this.#owedBytes;
    // What moves at all is worth more of it on the way; one that its reader never holds up, most.
    if (this.#windowBytes < (this.#isHeldUp ? HELD_UP_WINDOW_BYTES : MAX_STREAM_WINDOW_BYTES)) {
      const more = Math.min(this.#windowBytes, MAX_STREAM_WINDOW_BYTES - this.#windowBytes);
      this.#windowBytes += more;
      grown += more;
    }
    this.#isHeldUp = false;
    this.#owedBytes = 0;
    this.receiveWindow += grown;
    this.connection.frames.windowUpdate(this.id, grown);
  }

  /** END_STREAM was sent. */
  endLocal(): void {
    this.isLocalEnded = true;
    this.#endsAfterPending = false;
    if (this.isRemoteEnded) this.#close();
    this.taker?.onSent(this);
  }

  /** END_STREAM has come. */
  endRemote(): void {
    this.isRemoteEnded = true;
    if (this.isLocalEnded) this.#close();
  }

  /** Breaks it off, and tells the peer why; its taker is told nothing. */
  reset(code: number = H2_ERROR.cancel): void {
    if (this.isClosed) return;
    this.connection.writeReset(this.id, code);
    this.abandon();
  }

  /** Drops it without a word. */
  abandon(): void {
    if (this.isClosed) return;
    if (this.pendingBytes > 0) this.source?.release(this.pendingBytes);
    this.#pending = null;
    this.#trailers = null;
    this.#endsAfterPending = false;
    this.#close();
  }

  #close(): void {
    this.isClosed = true;
    this.connection.forget(this);
  }
}

const NO_BYTES = Buffer.alloc(0);
