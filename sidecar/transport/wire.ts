// A connection as an engine sees it: bytes in by callback, bytes out by one write, and the four things that can happen to it. `SocketWire` is one over a stream of
// Node's: it owns the stream's listeners and the pausing; who reads what when is the owner's business.
//
// HOT PATH: per chunk one call in and one write out. No promise, no closure, no allocation: what is written goes through the one buffer of `outgoing.ts`.
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import type { Clock } from "../../core/clock.ts";
import { readInto } from "./fast-read.ts";
import { endSoon } from "./linger.ts";
import { resetStream } from "./reset.ts";
import { beginEvent, endEvent } from "./turn.ts";

/** Takes what happens to a wire. Calls come from the event loop only, never from within a call into the wire. */
export interface WireOwner {
  /** Bytes[start..end) came; also for a moment after `pause`, as TLS hands over what it has decrypted. Copy what outlives the call. */
  onBytes(bytes: Buffer, start: number, end: number): void;
  /** The peer has sent its last byte. It may still read. */
  onEnd(): void;
  /** What was written is through, after a write that left the wire blocked. */
  onDrain(): void;
  /** The connection is gone, both ways. The last call. */
  onClose(): void;
}

/** An open connection. */
export interface Wire {
  /** False once an end was sent, or the connection is gone. */
  readonly isWritable: boolean;
  /** True while so much waits to be written that no more should be: `onDrain` follows. */
  readonly isBlocked: boolean;
  /** Bytes accepted by `write` that are not through yet. */
  readonly pendingBytes: number;
  readonly isOpen: boolean;
  /** True once the peer has said that nothing new should be begun on it. */
  readonly isLeaving: boolean;
  /** True once the peer has said that it looked at nothing of what was sent, and closed it. */
  readonly isUnprocessed: boolean;
  /** True when both sides have ended and all that was written is through. */
  readonly isOverInOrder: boolean;
  /** True when what is written now is not looked at any more once `write` has returned: it was encrypted, or copied. */
  readonly takesAtOnce: boolean;
  /** True when what is written now is with the kernel once `write` has returned, as far as `pendingBytes` does not say otherwise. */
  readonly isDirect: boolean;
  /** True when the owner has nothing to wait for: what was written is through, as far as it can be told here. */
  readonly isThrough: boolean;
  /** True while a request is under way on it. What shares a connection with others is written earlier where few of them are at work. */
  isAtWork: boolean;
  /** Begins to read. Bytes that were read ahead are given at once, from within this call. */
  start(): void;
  /** Writes bytes, which may be kept: see {@link takesAtOnce}. Only while {@link isWritable}. */
  write(bytes: Buffer): void;
  /** Calls `done` once all that was written is through, or the connection is gone. */
  whenThrough(done: () => void): void;
  pause(): void;
  resume(): void;
  /** Sends the last byte: the peer sees the end of the stream. */
  end(): void;
  /** Sends the last byte, and gives the peer a moment for its own: see `linger.ts`. */
  endSoon(clock: Clock): void;
  /** Ends it both ways: nothing is due either way. */
  close(): void;
  /** Ends it both ways so that the peer can't take what it has for all there is. */
  reset(): void;
}

/** A connection over a stream of Node's. */
export class SocketWire implements Wire {
  readonly stream: Duplex;
  readonly isLeaving = false;
  readonly isUnprocessed = false;
  isWritable = true;
  isBlocked: boolean;
  isAtWork = false;
  /** True when the stream encrypts what it is given before `write` returns, or copies it. */
  readonly #isTls: boolean;
  /** True when written bytes are with the kernel, or kept by reference, exactly as `writableLength` says; other streams may keep them longer. */
  readonly #isSocket: boolean;
  readonly #owner: WireOwner;
  #isPaused = false;

  /** Takes over `stream`. Nothing is read before {@link start}. */
  constructor(stream: Duplex, owner: WireOwner) {
    this.stream = stream;
    this.#isTls = stream instanceof TLSSocket;
    this.#isSocket = stream instanceof Socket;
    this.isBlocked = stream.writableNeedDrain;
    this.#owner = owner;
    stream.on("end", () => this.#owner.onEnd());
    stream.on("drain", () => {
      this.isBlocked = false;
      this.#owner.onDrain();
    });
    stream.on("error", () => {
      this.isWritable = false; // `close` follows
    });
    stream.on("close", () => {
      this.isWritable = false;
      this.isBlocked = false;
      this.#owner.onClose();
    });
  }

  start(): void {
    readInto(this.stream, (bytes, length) => {
      beginEvent();
      this.#owner.onBytes(bytes, 0, length);
      endEvent();
    });
    if (!this.#isPaused) this.stream.resume();
    if (this.stream.readableEnded) this.#owner.onEnd();
  }

  get pendingBytes(): number {
    return this.stream.writableLength;
  }

  get isOpen(): boolean {
    return !this.stream.destroyed;
  }

  get isOverInOrder(): boolean {
    return this.stream.readableEnded && this.stream.writableFinished;
  }

  get takesAtOnce(): boolean {
    return this.#isTls && this.stream.writableLength === 0;
  }

  get isDirect(): boolean {
    return this.#isSocket && this.stream.writableLength === 0;
  }

  /** Whatever is under TLS, a drain waits for as a connection. */
  get isThrough(): boolean {
    return this.#isTls || this.stream.writableLength === 0 || this.stream.destroyed;
  }

  /** `done` is called when the stream does not keep the bytes any more. */
  write(bytes: Buffer, done?: () => void): void {
    if (!this.stream.write(bytes, done)) this.isBlocked = true;
  }

  whenThrough(done: () => void): void {
    this.stream.write("", done);
  }

  pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.stream.pause();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (!this.stream.destroyed) this.stream.resume();
  }

  end(): void {
    this.isWritable = false;
    this.isBlocked = false;
    if (!this.stream.destroyed && !this.stream.writableEnded) this.stream.end();
  }

  endSoon(clock: Clock): void {
    this.isWritable = false;
    this.isBlocked = false;
    endSoon(this.stream, clock);
  }

  close(): void {
    this.stream.destroy();
  }

  /** With a TCP reset. */
  reset(): void {
    this.isWritable = false;
    this.isBlocked = false;
    resetStream(this.stream);
  }
}
