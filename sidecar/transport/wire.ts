// A connection as an engine sees it: bytes in by callback, bytes out by one write, and the four things that can happen to it. Owns the stream's listeners
// and the pausing; who reads what when is the owner's business.
//
// HOT PATH: per chunk one call in and one write out. No promise, no closure, no allocation: what is written goes through the one buffer of `outgoing.ts`.
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { readInto } from "./fast-read.ts";
import { resetStream } from "./reset.ts";

/** Takes what happens to a wire. Calls come from the event loop only, never from within a call into the wire. */
export interface WireOwner {
  /** Bytes[0..length) came; also for a moment after `pause`, as TLS hands over what it has decrypted. Copy what outlives the call. */
  onBytes(bytes: Buffer, length: number): void;
  /** The peer has sent its last byte. It may still read. */
  onEnd(): void;
  /** What was written is through, after a write that returned false. */
  onDrain(): void;
  /** The connection is gone, both ways. The last call. */
  onClose(): void;
}

/** An open connection. */
export class Wire {
  readonly stream: Duplex;
  /** True when the stream encrypts what it is given before `write` returns, or copies it. */
  readonly isTls: boolean;
  /** True when written bytes are with the kernel, or kept by reference, exactly as `writableLength` says; other streams may keep them longer. */
  readonly isSocket: boolean;
  /** False once an end was sent, or the connection is gone. */
  isWritable = true;
  /** True while the stream holds as much as it should: `onDrain` follows. */
  isBlocked: boolean;
  readonly #owner: WireOwner;
  #isPaused = false;

  /** Takes over `stream`. Nothing is read before {@link start}. */
  constructor(stream: Duplex, owner: WireOwner) {
    this.stream = stream;
    this.isTls = stream instanceof TLSSocket;
    this.isSocket = stream instanceof Socket;
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

  /** Begins to read. Bytes that were read ahead are given at once, from within this call. */
  start(): void {
    readInto(this.stream, (bytes, length) => this.#owner.onBytes(bytes, length));
    if (!this.#isPaused) this.stream.resume();
    if (this.stream.readableEnded) this.#owner.onEnd();
  }

  /** Bytes accepted by `write` that are not through yet. */
  get pendingBytes(): number {
    return this.stream.writableLength;
  }

  get isOpen(): boolean {
    return !this.stream.destroyed;
  }

  /** True when both sides have ended and all that was written is through. */
  get isOverInOrder(): boolean {
    return this.stream.readableEnded && this.stream.writableFinished;
  }

  /** Writes bytes, which the stream may keep: see {@link isTls}; `done` is called when it does not any more. Only while {@link isWritable}. */
  write(bytes: Buffer, done?: () => void): void {
    if (!this.stream.write(bytes, done)) this.isBlocked = true;
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

  /** Sends the last byte: the peer sees the end of the stream. */
  end(): void {
    this.isWritable = false;
    this.isBlocked = false;
    if (!this.stream.destroyed && !this.stream.writableEnded) this.stream.end();
  }

  /** Ends both ways with a TCP reset. */
  reset(): void {
    this.isWritable = false;
    this.isBlocked = false;
    resetStream(this.stream);
  }
}
