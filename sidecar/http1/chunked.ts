// Follows a chunked body (RFC 9112 section 7.1) without taking it apart: says how far it goes, so that its bytes can be forwarded as they came, and refuses
// what two readers could count differently. Trailer fields are left to the caller: they are read and written anew.
//
// HOT PATH: per chunk one pass over its size line; chunk data is skipped by arithmetic. No copies.
import { CR, LF } from "./scan.ts";
import { LIMITS, type StrictnessRule } from "./strictness.ts";

/** What comes next on the wire. */
const AT = {
  sizeFirst: 0,
  size: 1,
  extension: 2,
  sizeLf: 3,
  data: 4,
  dataCr: 5,
  dataLf: 6,
  /** After the line of the last chunk: the trailer section. */
  trailers: 7,
} as const;
type Position = (typeof AT)[keyof typeof AT];

/** Takes a span of chunk data of the bytes given to {@link ChunkedBody.advance}. */
export type OnData = (bytes: Buffer, start: number, end: number) => void;

/** One body being followed. One object per connection and direction; {@link begin} starts the next body. */
export class ChunkedBody {
  /** What was wrong, set exactly when `advance` returned -1. */
  flaw: StrictnessRule | null = null;
  #at: Position = AT.sizeFirst;
  #size = 0;
  #digits = 0;
  #extensionBytes = 0;
  #bodyExtensionBytes = 0;
  /** Data bytes of the current chunk that are still to come. */
  #left = 0;

  begin(): void {
    this.flaw = null;
    this.#at = AT.sizeFirst;
    this.#bodyExtensionBytes = 0;
  }

  /** True when the last chunk's line was read: what follows is the trailer section. */
  get isAtTrailers(): boolean {
    return this.#at === AT.trailers;
  }

  /**
   * Follows bytes[start..end) and returns how far the body's chunks go: `end` while there may be more, less when the trailer section begins there, -1 when
   * they are not chunks. Calls `onData` for the data alone, where a caller wants it without its framing.
   */
  advance(bytes: Buffer, start: number, end: number, onData: OnData | null): number {
    let index = start;
    while (index < end) {
      if (this.#at === AT.data) {
        const taken = Math.min(this.#left, end - index);
        if (onData !== null) onData(bytes, index, index + taken);
        this.#left -= taken;
        index += taken;
        if (this.#left === 0) this.#at = AT.dataCr;
        continue;
      }
      const flaw = this.#step(bytes[index] as number);
      if (flaw !== null) {
        this.flaw = flaw;
        return -1;
      }
      index += 1;
      if (this.#at === AT.trailers) return index;
    }
    return index;
  }

  /** One byte of framing. */
  #step(byte: number): StrictnessRule | null {
    switch (this.#at) {
      case AT.sizeFirst:
        this.#size = 0;
        this.#digits = 0;
        this.#extensionBytes = 0;
        if (hexValue(byte) === -1) return byte === CR || byte === LF || byte === 0x3b ? "chunk_size_missing" : "chunk_size_invalid";
        this.#at = AT.size;
        return this.#digit(hexValue(byte));
      case AT.size:
        if (byte === CR) this.#at = AT.sizeLf;
        else if (byte === 0x3b /* ; */) return this.#extension(byte);
        else if (hexValue(byte) === -1) return byte === LF ? "bare_lf" : "chunk_size_invalid";
        else return this.#digit(hexValue(byte));
        return null;
      case AT.extension:
        if (byte === CR) this.#at = AT.sizeLf;
        else return this.#extension(byte);
        return null;
      case AT.sizeLf:
        if (byte !== LF) return this.#extensionBytes > 0 ? "chunk_extension_invalid" : "bare_cr";
        this.#left = this.#size;
        this.#at = this.#size === 0 ? AT.trailers : AT.data;
        return null;
      case AT.dataCr:
        this.#at = AT.dataLf;
        return byte === CR ? null : "chunk_end_missing";
      default:
        this.#at = AT.sizeFirst;
        return byte === LF ? null : "chunk_end_missing";
    }
  }

  #digit(value: number): StrictnessRule | null {
    this.#digits += 1;
    this.#size = this.#size * 16 + value;
    return this.#digits > LIMITS.chunkSizeDigits || this.#size > LIMITS.lengthMax ? "chunk_size_too_large" : null;
  }

  #extension(byte: number): StrictnessRule | null {
    this.#at = AT.extension;
    this.#extensionBytes += 1;
    this.#bodyExtensionBytes += 1;
    if (this.#extensionBytes > LIMITS.chunkExtensionBytes || this.#bodyExtensionBytes > LIMITS.bodyExtensionBytes)
      return "chunk_extension_too_long";
    return (byte < 0x20 && byte !== 0x09) || byte === 0x7f ? "chunk_extension_invalid" : null;
  }
}

/** The value of a hexadecimal digit, or -1. */
function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
