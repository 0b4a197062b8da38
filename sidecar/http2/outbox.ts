// What leaves on one connection: frames are put together in one buffer and written once per turn of the event loop, whoever's requests they are of. With many
// streams on a connection that is one TLS record and one system call for all of them.
//
// HOT PATH: per frame a few bytes written in place; no allocation. Buffers are lent for as long as something is in them.
import type { Wire } from "../transport/wire.ts";

/** Size of a buffer, bytes: four full frames. A head of any size that is let through fits. */
const OUTBOX_BYTES = 72 * 1024;
/** From here on bytes are written at once rather than at the end of the turn. */
const FULL_BYTES = 64 * 1024;
/** Buffers kept for the next turns. */
const MAX_SPARE_BUFFERS = 8;

const spare: Buffer[] = [];
/** Outboxes with something in them; written at the end of the turn. */
let filled: Outbox[] = [];
let isScheduled = false;

/** The frames of one connection that were not written yet. */
export class Outbox {
  /** Set while something is in it: write behind `length`, and move that on. */
  buffer: Buffer | null = null;
  length = 0;
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** Makes room for `bytes` more (at most {@link OUTBOX_BYTES}), and gives the buffer, into which the next frame goes at `length`. */
  room(bytes: number): Buffer {
    if (this.buffer !== null && this.length + bytes > OUTBOX_BYTES) this.flush();
    if (this.buffer === null) {
      this.buffer = spare.pop() ?? Buffer.allocUnsafeSlow(OUTBOX_BYTES);
      this.length = 0;
      filled.push(this);
      if (!isScheduled) {
        isScheduled = true;
        setImmediate(writeAll);
      }
    }
    return this.buffer;
  }

  get isFull(): boolean {
    return this.length >= FULL_BYTES;
  }

  /** Writes what is in it now. */
  flush(): void {
    const { buffer, length } = this;
    if (buffer === null) return;
    this.buffer = null;
    this.length = 0;
    const wire = this.#wire;
    if (length === 0 || !wire.isWritable) return giveBack(buffer);
    const bytes = buffer.subarray(0, length);
    // Behind an earlier write, and where it is not known what the stream does, it reads from the buffer later: then it has it until it says so.
    if (!wire.isSocket || wire.pendingBytes > 0) return wire.write(bytes, () => giveBack(buffer));
    wire.write(bytes);
    // TLS has encrypted or copied it by now; of a plain socket's bytes the kernel may have left some, which are read from here until they are through.
    if (wire.isTls || wire.pendingBytes === 0) giveBack(buffer);
  }
}

/** Writes all outboxes now: for who must not wait for the end of the turn, as before a connection is closed. */
function writeAll(): void {
  isScheduled = false;
  const now = filled;
  filled = [];
  for (const outbox of now) outbox.flush();
}

function giveBack(buffer: Buffer): void {
  if (spare.length < MAX_SPARE_BUFFERS) spare.push(buffer);
}
