// Cuts what comes on a connection into frames (RFC 9113 section 4.1). A small frame is given whole; DATA is given in the pieces it came in, so that no body is
// ever collected here. Owns what of a frame has come so far; what a frame means is its owner's business.
//
// HOT PATH: per frame nine bytes read and one call; only a frame that two reads share is copied.
import { FLAG, FRAME, FRAME_HEADER_BYTES, H2_ERROR, MAX_FRAME_BYTES, read31 } from "./frames.ts";

/** Takes frames. Nothing more is given once {@link FrameOwner.isOver}. */
export interface FrameOwner {
  /** True once no further frame is wanted. */
  readonly isOver: boolean;
  /** A whole frame of any type but DATA; its payload is bytes[start..end), which the next read overwrites. */
  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void;
  /** A DATA frame begins; `length` counts for flow control, padding and all. */
  onDataFrame(streamId: number, length: number): void;
  /** So many of its octets are padding, which is no content. */
  onPadding(length: number): void;
  /** A piece of its content, maybe empty; `isEnd`: the last of the stream. */
  onData(bytes: Buffer, start: number, end: number, isEnd: boolean): void;
  /** What came is no frame: an error of the connection. */
  onFrameFlaw(code: number, detail: string): void;
}

const PHASE = { header: 0, payload: 1, padLength: 2, data: 3, padding: 4 } as const;
type Phase = (typeof PHASE)[keyof typeof PHASE];

const NO_BYTES = Buffer.alloc(0);

/** Reads frames. */
export class FrameReader {
  readonly #owner: FrameOwner;
  #phase: Phase = PHASE.header;
  #type = 0;
  #flags = 0;
  #streamId = 0;
  /** Octets of the payload that have not come; of DATA without its padding. */
  #left = 0;
  #padding = 0;
  /** What of a header or a payload came with earlier reads. */
  #held = NO_BYTES;
  #heldLength = 0;
  /** Frames begun. */
  #frames = 0;

  constructor(owner: FrameOwner) {
    this.#owner = owner;
  }

  /** The number of the frame that has begun to come, is not DATA, and is not whole; 0 for none. DATA is its stream's to watch. */
  get unfinished(): number {
    if (this.#phase === PHASE.payload) return this.#frames;
    return this.#phase === PHASE.header && this.#heldLength > 0 ? this.#frames + 1 : 0;
  }

  /** Takes bytes[start..end). */
  read(bytes: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end && !this.#owner.isOver) {
      switch (this.#phase) {
        case PHASE.header:
          at = this.#readHeader(bytes, at, end);
          break;
        case PHASE.payload:
          at = this.#readPayload(bytes, at, end);
          break;
        case PHASE.padLength:
          at = this.#readPadLength(bytes, at);
          break;
        case PHASE.data:
          at = this.#readData(bytes, at, end);
          break;
        case PHASE.padding:
          at = this.#skipPadding(at, end);
      }
    }
  }

  #readHeader(bytes: Buffer, at: number, end: number): number {
    if (this.#heldLength === 0 && end - at >= FRAME_HEADER_BYTES) {
      this.#begin(bytes, at);
      return at + FRAME_HEADER_BYTES;
    }
    const next = this.#hold(bytes, at, end, FRAME_HEADER_BYTES);
    if (this.#heldLength < FRAME_HEADER_BYTES) return next;
    this.#heldLength = 0;
    this.#begin(this.#held, 0);
    return next;
  }

  #begin(bytes: Buffer, at: number): void {
    const length = ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
    this.#type = bytes[at + 3] as number;
    this.#flags = bytes[at + 4] as number;
    this.#streamId = read31(bytes, at + 5);
    if (length > MAX_FRAME_BYTES) return this.#owner.onFrameFlaw(H2_ERROR.frameSizeError, `a frame of ${length} octets`);
    this.#frames += 1;
    this.#left = length;
    if (this.#type === FRAME.data) return this.#beginData(length);
    if (length === 0) this.#owner.onFrame(this.#type, this.#flags, this.#streamId, NO_BYTES, 0, 0);
    else this.#phase = PHASE.payload;
  }

  #beginData(length: number): void {
    this.#padding = 0;
    this.#owner.onDataFrame(this.#streamId, length);
    if ((this.#flags & FLAG.padded) !== 0) {
      if (length === 0) return this.#owner.onFrameFlaw(H2_ERROR.frameSizeError, "a padded DATA frame without its length");
      this.#phase = PHASE.padLength;
    } else if (length === 0) this.#owner.onData(NO_BYTES, 0, 0, this.#isEnd);
    else this.#phase = PHASE.data;
  }

  get #isEnd(): boolean {
    return (this.#flags & FLAG.endStream) !== 0;
  }

  #readPayload(bytes: Buffer, at: number, end: number): number {
    const length = this.#left;
    if (this.#heldLength === 0 && end - at >= length) {
      this.#phase = PHASE.header;
      this.#owner.onFrame(this.#type, this.#flags, this.#streamId, bytes, at, at + length);
      return at + length;
    }
    const next = this.#hold(bytes, at, end, length);
    if (this.#heldLength < length) return next;
    this.#heldLength = 0;
    this.#phase = PHASE.header;
    const whole = this.#held;
    // A connection that rests keeps no payload.
    this.#held = NO_BYTES;
    this.#owner.onFrame(this.#type, this.#flags, this.#streamId, whole, 0, length);
    return next;
  }

  /** Keeps what has come of something that is `length` octets long. */
  #hold(bytes: Buffer, at: number, end: number, length: number): number {
    if (this.#held.length < length) {
      const larger = Buffer.allocUnsafe(length);
      this.#held.copy(larger, 0, 0, this.#heldLength);
      this.#held = larger;
    }
    const next = Math.min(end, at + length - this.#heldLength);
    bytes.copy(this.#held, this.#heldLength, at, next);
    this.#heldLength += next - at;
    return next;
  }

  #readPadLength(bytes: Buffer, at: number): number {
    this.#padding = bytes[at] as number;
    this.#left -= 1 + this.#padding;
    if (this.#left < 0) {
      this.#owner.onFrameFlaw(H2_ERROR.protocolError, "padding as long as its frame");
      return at + 1;
    }
    this.#owner.onPadding(1 + this.#padding);
    if (this.#left > 0) this.#phase = PHASE.data;
    else this.#endData(NO_BYTES, 0, 0);
    return at + 1;
  }

  #readData(bytes: Buffer, at: number, end: number): number {
    const to = Math.min(end, at + this.#left);
    this.#left -= to - at;
    if (this.#left === 0) this.#endData(bytes, at, to);
    else this.#owner.onData(bytes, at, to, false);
    return to;
  }

  /** The last piece of a frame: the padding behind it says nothing. */
  #endData(bytes: Buffer, start: number, end: number): void {
    this.#phase = this.#padding > 0 ? PHASE.padding : PHASE.header;
    this.#owner.onData(bytes, start, end, this.#isEnd);
  }

  #skipPadding(at: number, end: number): number {
    const to = Math.min(end, at + this.#padding);
    this.#padding -= to - at;
    if (this.#padding === 0) this.#phase = PHASE.header;
    return to;
  }
}
