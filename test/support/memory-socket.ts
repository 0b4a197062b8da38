// Two ends of a connection in memory: each write arrives as one chunk at the other end, never joined and never split, so that a test decides where the
// network cuts. Behaves like a TCP socket otherwise: half-close, back-pressure, and a reset where an end is destroyed before it was ended.
import { Duplex } from "node:stream";

/** One end. Has the setters of a net.Socket that node:http calls; there is nothing to set. */
export class MemorySocket extends Duplex {
  #peer: MemorySocket | null = null;
  /** What is waiting for room at the other end. */
  #blocked: (() => void) | null = null;

  /** Makes both ends. `onActivity` is called whenever something moves, so that a test knows when nothing does. */
  static pair(onActivity: () => void): [MemorySocket, MemorySocket] {
    const left = new MemorySocket(onActivity);
    const right = new MemorySocket(onActivity);
    left.#peer = right;
    right.#peer = left;
    return [left, right];
  }

  readonly #onActivity: () => void;

  private constructor(onActivity: () => void) {
    super({ allowHalfOpen: true, emitClose: true });
    this.#onActivity = onActivity;
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#onActivity();
    const peer = this.#peer;
    if (peer === null || peer.destroyed) return done(peerGone());
    // As with a socket, the other end hears of it later and owns its copy.
    const copy = Buffer.from(chunk);
    setImmediate(() => {
      this.#onActivity();
      if (peer.destroyed) return done(this.destroyed ? null : peerGone());
      if (peer.push(copy)) done();
      else peer.#blocked = done;
    });
  }

  override _read(): void {
    const blocked = this.#blocked;
    this.#blocked = null;
    if (blocked === null) return;
    this.#onActivity();
    blocked();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#onActivity();
    const peer = this.#peer;
    setImmediate(() => {
      this.#onActivity();
      if (peer !== null && !peer.destroyed && !peer.readableEnded) peer.push(null);
      done();
    });
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#onActivity();
    const peer = this.#peer;
    const wasEnded = this.writableEnded;
    const blocked = this.#blocked;
    this.#blocked = null;
    setImmediate(() => {
      this.#onActivity();
      blocked?.();
      if (peer === null || peer.destroyed) return;
      // As when TCP answers what comes for a closed socket with a reset.
      if (!wasEnded || !peer.writableFinished) peer.destroy(peerGone());
      else if (!peer.readableEnded) peer.push(null);
    });
    done(error);
  }

  setTimeout(): this {
    return this;
  }
  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
}

function peerGone(): Error {
  return Object.assign(new Error("the other end is gone"), { code: "ECONNRESET" });
}
