// What leaves on one connection: frames are put together in one buffer and written once, whoever's requests they are of (`transport/turn.ts` says when). While a long
// write is under way nothing is written behind it: Node would copy what waits into one buffer anew (`writev`), so it is put together here until it can leave in one
// piece.
//
// HOT PATH: per frame a few bytes written in place; no allocation. Buffers are lent for as long as something is in them.
import { type Gathering, writeLater } from "../transport/turn.ts";
import type { SocketWire } from "../transport/wire.ts";

/** Size of a buffer, bytes: what is gathered while a write is under way. */
const BUFFER_BYTES = 144 * 1024;
/** From here on bytes are written at once rather than at the end of the turn. */
const FULL_BYTES = 64 * 1024;
/** From here on no more DATA is taken while a write is under way. A head of any size that is let through fits behind it. */
const BLOCKED_BYTES = 128 * 1024;
/** A longer write is waited for. */
const SHORT_BYTES = 16 * 1024;
/** Buffers kept for the next turns. */
const MAX_SPARE_BUFFERS = 8;

/** Streams at work from which on a connection is busy. */
const BUSY_STREAMS = 5;

/** Longest view that is kept. */
const MAX_KEPT_VIEW_BYTES = 2 * 1024;

/** A buffer, and the views of it from its start by their length: making one costs more than copying the usual frames. */
interface Lent {
  readonly bytes: Buffer;
  readonly views: (Buffer | undefined)[];
}

const spare: Lent[] = [];
let bufferBytes = BUFFER_BYTES;
let maxSpareBuffers = MAX_SPARE_BUFFERS;

/**
 * For a process with hundreds of connections that each say little: smaller buffers, and more of them kept. With the usual ones every turn in which more than a few
 * connections have something to say would allocate a large buffer for each of the others.
 */
export function keepManySmallBuffers({ bytes, count }: { readonly bytes: number; readonly count: number }): void {
  bufferBytes = bytes;
  maxSpareBuffers = count;
  spare.length = 0;
}

/** The frames of one connection that were not written yet. */
export class Outbox implements Gathering {
  /** Set while something is in it: write behind `length`, and move that on. */
  buffer: Buffer | null = null;
  /** What `buffer` is of. */
  #lent: Lent | null = null;
  length = 0;
  readonly #wire: SocketWire;
  readonly #atWork: { readonly size: number };
  /** Called when a long write is through and what had gathered behind it is written. */
  readonly #onWritten: () => void;
  /** The buffer of a write that is under way; null while none is waited for. */
  #writing: Lent | null = null;
  #isEnding = false;

  /** `atWork` are the streams of the connection on which something is going on. */
  constructor(wire: SocketWire, atWork: { readonly size: number }, onWritten: () => void) {
    this.#wire = wire;
    this.#atWork = atWork;
    this.#onWritten = onWritten;
  }

  /** Makes room for `bytes` more, and gives the buffer, into which the next frame goes at `length`. */
  room(bytes: number): Buffer {
    if (this.buffer !== null && this.length + bytes > this.buffer.length) this.#makeRoom(bytes);
    if (this.buffer === null) {
      this.#lent = spare.pop() ?? lend(bufferBytes);
      this.buffer = this.#lent.bytes;
      this.length = 0;
      writeLater(this);
    }
    return this.buffer;
  }

  /** Heads and control frames are taken whatever waits: who asks for more of them than he reads is not read any more. */
  #makeRoom(bytes: number): void {
    this.flush();
    if (this.buffer === null) return;
    const larger = lend(2 * this.buffer.length + bytes);
    this.buffer.copy(larger.bytes, 0, 0, this.length);
    giveBack(this.#lent as Lent); // set with the buffer
    this.#lent = larger;
    this.buffer = larger.bytes;
  }

  /** True when enough is in it to be written without waiting for the end of the turn. */
  get isFull(): boolean {
    return this.length >= FULL_BYTES;
  }

  /** True while DATA had better wait in its stream. */
  get isBlocked(): boolean {
    return this.#writing !== null && this.length >= BLOCKED_BYTES;
  }

  /** True when more is likely to come before the turn is over. */
  get isBusy(): boolean {
    return this.#atWork.size >= BUSY_STREAMS;
  }

  /** Bytes in it and in the write that is under way. */
  get pendingBytes(): number {
    return this.length + this.#wire.pendingBytes;
  }

  /** Writes what is in it now, unless a write is under way: then it follows. */
  flush(): void {
    const lent = this.#lent;
    const { length } = this;
    if (lent === null || this.#writing !== null) return;
    this.#lent = null;
    this.buffer = null;
    this.length = 0;
    const wire = this.#wire;
    if (length === 0 || !wire.isWritable) return giveBack(lent);
    if (length > SHORT_BYTES || !wire.isDirect) {
      this.#writing = lent;
      return wire.write(lent.bytes.subarray(0, length), this.#onDone);
    }
    const isTaken = wire.takesAtOnce;
    wire.write(viewOf(lent, length));
    // Of a plain socket's bytes the kernel may have left some, which are read from here until they are through.
    if (isTaken || wire.isDirect) giveBack(lent);
  }

  /** Sends the end behind all that is in it. */
  end(): void {
    this.#isEnding = true;
    this.flush();
    if (this.buffer === null) this.#wire.end();
  }

  readonly #onDone = (): void => {
    giveBack(this.#writing as Lent); // set until it is done
    this.#writing = null;
    if (this.#isEnding) return this.end();
    this.flush();
    this.#onWritten();
  };
}

function lend(bytes: number): Lent {
  // As long as it will get: a list that grows by leaps would become a hash table.
  return { bytes: Buffer.allocUnsafeSlow(bytes), views: new Array(MAX_KEPT_VIEW_BYTES + 1) };
}

function viewOf({ bytes, views }: Lent, length: number): Buffer {
  if (length > MAX_KEPT_VIEW_BYTES) return bytes.subarray(0, length);
  const view = views[length] ?? bytes.subarray(0, length);
  views[length] = view;
  return view;
}

function giveBack(lent: Lent): void {
  if (spare.length < maxSpareBuffers && lent.bytes.length === bufferBytes) spare.push(lent);
}
