// The bytes of one head: copied once out of the shared read buffer, so that the head outlives the read it came in, and collected where it came in several.
// Bounded by `LIMITS.headBytes`.
//
// HOT PATH: one copy of a few hundred bytes per request.
import { LIMITS } from "./strictness.ts";

/** Bytes at first: more than most heads have. */
const FIRST_BYTES = 1024;

/** Most bytes that are kept: one more than any head may have. */
const MAX_BYTES = LIMITS.headBytes + LIMITS.addedBytes + 1;

/** Keeps one head. */
export class HeadStore {
  /** The bytes; only [0..length) are the head's. */
  bytes: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  length = 0;

  /** Adds from[start..end), at most what a head may have and one more. */
  add(from: Buffer, start: number, end: number): void {
    const taken = Math.min(end - start, MAX_BYTES - this.length);
    if (this.length + taken > this.bytes.length) this.#grow(this.length + taken);
    from.copy(this.bytes, this.length, start, start + taken);
    this.length += taken;
  }

  #grow(needed: number): void {
    const bytes = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(2 * this.bytes.length, MAX_BYTES)));
    this.bytes.copy(bytes, 0, 0, this.length);
    this.bytes = bytes;
  }

  /** True when it is larger than what is worth keeping for the next head. */
  get isLarge(): boolean {
    return this.bytes.length > 4 * FIRST_BYTES;
  }
}

const END_OF_HEAD = Buffer.from("\r\n\r\n", "latin1");

/** True when bytes[0..length) contain the end of a head; `searched` of them are known not to. */
export function hasEndOfHead(store: HeadStore, searched: number): boolean {
  const at = store.bytes.indexOf(END_OF_HEAD, Math.max(0, searched - 3));
  return at !== -1 && at + 4 <= store.length;
}
