// Cuts what comes on a call into its messages (gRPC over HTTP/2, "Length-Prefixed-Message"): a flag, four octets of length, the message. Owns what of one has come so
// far; compressed ones, which nobody was offered, are refused.
//
// HOT PATH: a message that came in one piece is given as a view of that piece; nothing is copied. One that came in pieces is copied once, however small they are.
import { PREFIX_BYTES } from "../core/wire/server-call.ts";

const NO_BYTES = Buffer.alloc(0);

/** Why a call cannot go on. */
export type MessageFlaw = "compressed" | "too_large";

/** Takes the messages of one call. */
export interface MessageOwner {
  /** A whole message: bytes[start..end), overwritten after the call. */
  onMessage(bytes: Buffer, start: number, end: number): void;
  /** Nothing more is given. */
  onMessageFlaw(flaw: MessageFlaw, length: number): void;
}

/** Reads messages. */
export class MessageReader {
  readonly #owner: MessageOwner;
  readonly #maxBytes: number;
  /** What of a message, prefix and all, came without its end: the first {@link #begunBytes} octets. */
  #begun = NO_BYTES;
  #begunBytes = 0;
  #isBroken = false;

  constructor(owner: MessageOwner, maxBytes: number) {
    this.#owner = owner;
    this.#maxBytes = maxBytes;
  }

  /** True while the end of a message is missing. */
  get isUnfinished(): boolean {
    return this.#begunBytes > 0;
  }

  /** Takes bytes[start..end). */
  read(bytes: Buffer, start: number, end: number): void {
    let at = this.#begunBytes === 0 ? start : this.#finishBegun(bytes, start, end);
    while (at < end && !this.#isBroken) {
      const next = this.#endOf(bytes, at, end);
      if (this.#isBroken) return;
      if (next > end) return this.#keep(bytes, at, end);
      this.#owner.onMessage(bytes, at + PREFIX_BYTES, next);
      at = next;
    }
  }

  /** Adds to the message that has begun what belongs to it, and gives it when it is whole; returns where the next one begins. */
  #finishBegun(bytes: Buffer, start: number, end: number): number {
    let at = start;
    while (at < end) {
      const wanted = this.#endOf(this.#begun, 0, this.#begunBytes);
      if (this.#isBroken) return end;
      const taken = Math.min(end - at, wanted - this.#begunBytes);
      this.#keep(bytes, at, at + taken);
      at += taken;
      if (this.#begunBytes === wanted && this.#giveBegun()) return at;
    }
    return at;
  }

  /** False: what is there is a prefix alone, and the message is still to come. */
  #giveBegun(): boolean {
    const whole = this.#begun;
    const end = this.#endOf(whole, 0, this.#begunBytes);
    if (end > this.#begunBytes) return this.#isBroken;
    this.#begun = NO_BYTES;
    this.#begunBytes = 0;
    this.#owner.onMessage(whole, PREFIX_BYTES, end);
    return true;
  }

  /** Where the message that begins at `at` ends; the end of its prefix while that is not whole. Breaks off what may not come. */
  #endOf(bytes: Buffer, at: number, end: number): number {
    if (end - at < PREFIX_BYTES) return at + PREFIX_BYTES;
    const length = bytes.readUInt32BE(at + 1);
    if (bytes[at] !== 0) this.#break("compressed", length);
    else if (length > this.#maxBytes) this.#break("too_large", length);
    return at + PREFIX_BYTES + length;
  }

  #keep(bytes: Buffer, start: number, end: number): void {
    const kept = this.#begunBytes + end - start;
    if (kept > this.#begun.length) {
      // Twice as much as there is, not as much as is announced: what costs memory must have been sent.
      const larger = Buffer.allocUnsafe(this.#begunBytes === 0 ? kept : 2 * kept);
      this.#begun.copy(larger, 0, 0, this.#begunBytes);
      this.#begun = larger;
    }
    bytes.copy(this.#begun, this.#begunBytes, start, end);
    this.#begunBytes = kept;
  }

  #break(flaw: MessageFlaw, length: number): void {
    this.#isBroken = true;
    this.#begun = NO_BYTES;
    this.#begunBytes = 0;
    this.#owner.onMessageFlaw(flaw, length);
  }
}
