// An HTTP/1.1 connection that is a stream of an HTTP/2 connection (a trunk): the same bytes, beginnings and ends as those of a socket, in DATA frames, under the
// stream's flow control. Between two sidecars, so that the requests of many connections share system calls and TLS records.
//
// HOT PATH: per message one DATA frame. Nothing is kept but what the peer's window has no room for.
import type { Clock } from "../../core/clock.ts";
import { LINGER_MS } from "../transport/linger.ts";
import type { Wire, WireOwner } from "../transport/wire.ts";
import type { HeaderList } from "./header-list.ts";
import { H2_ERROR } from "./frames.ts";
import type { ByteSource, Stream, StreamTaker } from "./stream.ts";

/** Waiting bytes from which on the wire is blocked, and below half of which it is not any more. */
const MAX_WAITING_BYTES = 64 * 1024;

/** A client that is served on a stream. */
export interface Carried {
  /** No further request: at once when there is none, else after its answer. */
  drain(): void;
}

/** One end of such a connection. */
export class StreamWire implements Wire, StreamTaker, ByteSource {
  isWritable = true;
  isBlocked = false;
  /** True when the peer said that it has not looked at anything of it (RFC 9113 section 8.7). */
  isUnprocessed = false;
  /** Who is served on it; set by a trunk. */
  carried: Carried | null = null;
  /** Bytes that wait for the peer's window. */
  pendingBytes = 0;
  readonly takesAtOnce = true;
  readonly isDirect = false;
  readonly #owner: WireOwner;
  /** The wires of the trunk that are at work. */
  readonly #atWork: { size: number };
  #isAtWork = false;
  /** Set from {@link carry} on. */
  #stream: Stream | null = null;
  #isPaused = false;
  /** Bytes that came while paused: their window is given back when they are wanted again. */
  #heldBytes = 0;
  /** True once the owner was told of the peer's end; of the connection's. */
  #hasEnded = false;
  #isClosed = false;
  /** Those who wait until all is through. */
  readonly #waiting: (() => void)[] = [];

  constructor(owner: WireOwner, atWork: { size: number }) {
    this.#owner = owner;
    this.#atWork = atWork;
  }

  /** Sets the stream that it is. Before anything else. */
  carry(stream: Stream): void {
    this.#stream = stream;
    stream.taker = this;
    stream.source = this;
  }

  // What the owner asks.

  start(): void {}

  get isOpen(): boolean {
    return !this.#isClosed;
  }

  get isLeaving(): boolean {
    return this.#stream?.connection.isLeaving === true;
  }

  get isOverInOrder(): boolean {
    return this.#stream?.isRemoteEnded === true && this.#stream.isLocalEnded;
  }

  get isThrough(): boolean {
    return this.pendingBytes === 0 || this.#isClosed;
  }

  get isAtWork(): boolean {
    return this.#isAtWork;
  }

  set isAtWork(isAtWork: boolean) {
    if (isAtWork === this.#isAtWork || (isAtWork && this.#isClosed)) return;
    this.#isAtWork = isAtWork;
    this.#atWork.size += isAtWork ? 1 : -1;
  }

  write(bytes: Buffer): void {
    this.#stream?.sendData(bytes, 0, bytes.length, false);
  }

  whenThrough(done: () => void): void {
    if (this.isThrough) queueMicrotask(done);
    else this.#waiting.push(done);
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    const held = this.#heldBytes;
    if (held === 0) return;
    this.#heldBytes = 0;
    this.#stream?.release(held);
    this.#stream?.credit(held);
  }

  end(): void {
    if (!this.isWritable) return;
    this.isWritable = false;
    this.isBlocked = false;
    this.#stream?.sendData(NO_BYTES, 0, 0, true);
  }

  endSoon(clock: Clock): void {
    this.end();
    this.resume();
    const stream = this.#stream;
    if (stream === null || stream.isClosed) return;
    clock.after(LINGER_MS, () => stream.reset(H2_ERROR.cancel));
  }

  /** The end is said, and what the peer may still send is not listened to. */
  close(): void {
    const stream = this.#stream;
    this.end();
    if (stream !== null && !stream.isClosed) this.#letGo(stream);
    this.#closeLater();
  }

  reset(): void {
    const stream = this.#stream;
    this.isWritable = false;
    this.isBlocked = false;
    if (stream !== null && !stream.isClosed) {
      this.#letGo(stream);
      stream.reset(H2_ERROR.cancel);
    }
    this.#closeLater();
  }

  #letGo(stream: Stream): void {
    stream.taker = null;
    if (this.#heldBytes > 0) stream.release(this.#heldBytes);
    this.#heldBytes = 0;
  }

  /** Owners hear of nothing from within a call of theirs. */
  #closeLater(): void {
    if (!this.#isClosed) queueMicrotask(() => this.#close());
  }

  #close(): void {
    if (this.#isClosed) return;
    this.isAtWork = false;
    this.#isClosed = true;
    this.isWritable = false;
    this.isBlocked = false;
    for (const done of this.#waiting.splice(0)) done();
    this.#owner.onClose();
  }

  // What comes on the stream.

  /** The peer has taken the stream for what it is, or not. */
  onHead(stream: Stream, head: HeaderList, isEnd: boolean): void {
    if (head.status?.value !== "200") return this.#break(stream);
    if (isEnd) this.#onEnd(stream);
  }

  onData(stream: Stream, bytes: Buffer, start: number, end: number, isEnd: boolean): void {
    if (start < end) {
      this.#owner.onBytes(bytes, start, end);
      if (!this.#isPaused || stream.taker === null) stream.credit(end - start);
      else {
        this.#heldBytes += end - start;
        stream.holdUp(end - start);
      }
    }
    if (isEnd && stream.taker !== null) this.#onEnd(stream);
  }

  #onEnd(stream: Stream): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#owner.onEnd();
    if (stream.isClosed) this.#closeLater();
  }

  onTrailers(stream: Stream): void {
    this.#break(stream);
  }

  /** Not what a connection of HTTP/1.1 looks like. */
  #break(stream: Stream): void {
    stream.reset(H2_ERROR.protocolError);
    this.#close();
  }

  onReset(_stream: Stream, _code: number, isUnprocessed: boolean): void {
    this.isUnprocessed = isUnprocessed;
    this.#close();
  }

  onSent(stream: Stream): void {
    if (stream.isRemoteEnded && this.#hasEnded) this.#closeLater();
  }

  // What of it waits, leaves, or is dropped.

  holdUp(bytes: number): void {
    this.pendingBytes += bytes;
    if (this.pendingBytes > MAX_WAITING_BYTES && this.isWritable) this.isBlocked = true;
  }

  release(bytes: number): void {
    this.pendingBytes -= bytes;
    if (this.pendingBytes === 0 && this.#waiting.length > 0) for (const done of this.#waiting.splice(0)) done();
  }

  credit(): void {
    if (!this.isBlocked || this.pendingBytes * 2 > MAX_WAITING_BYTES) return;
    this.isBlocked = false;
    this.#owner.onDrain();
  }
}

const NO_BYTES = Buffer.alloc(0);
