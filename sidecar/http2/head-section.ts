// Puts together a header section that comes in several frames (RFC 9113 section 6.10), within bounds: who spreads a section over many frames, or makes it larger
// than any head may be, is an attacker (CVE-2024-27316).
import { MAX_HEADER_LIST_BYTES } from "./header-list.ts";

/** Frames that one section may come in. */
const MAX_FRAMES = 16;
/** Octets of its encoding: a section may be larger than what is let through, for that to be said. */
const MAX_BYTES = 2 * MAX_HEADER_LIST_BYTES;

const NO_BYTES = Buffer.alloc(0);

/** The section of one connection that has begun and not ended. */
export class HeadSection {
  /** Its stream; 0 exactly while none is coming. */
  id = 0;
  /** The flags of its HEADERS. */
  flags = 0;
  /** Those that came in more than one frame so far. */
  count = 0;
  #bytes = NO_BYTES;
  #frames = 0;

  begin(id: number, flags: number, bytes: Buffer, start: number, end: number): void {
    this.id = id;
    this.flags = flags;
    this.count += 1;
    this.#bytes = Buffer.from(bytes.subarray(start, end));
    this.#frames = 1;
  }

  /** Adds a CONTINUATION; false when it is one too many. */
  add(bytes: Buffer, start: number, end: number): boolean {
    this.#frames += 1;
    if (this.#frames > MAX_FRAMES || this.#bytes.length + end - start > MAX_BYTES) return false;
    this.#bytes = Buffer.concat([this.#bytes, bytes.subarray(start, end)]);
    return true;
  }

  /** Gives the whole of it, and waits for the next. */
  end(): Buffer {
    const bytes = this.#bytes;
    this.id = 0;
    this.#bytes = NO_BYTES;
    return bytes;
  }
}
