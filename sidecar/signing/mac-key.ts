// HMAC-SHA256 (RFC 2104) with one key, as two one-shot hashes of OpenSSL: H(K^opad || H(K^ipad || m)). Node's `createHmac` gives the same, but makes an
// object with a native half for each message: 1.2 µs more per message, and work for the collector. Owns the padded key; who shares it is
// pairwise-key.ts.
//
// HOT PATH: two calls into OpenSSL; two short strings are all that is made.
import { hash, type KeyObject, timingSafeEqual } from "node:crypto";
import { putAscii } from "./put-ascii.ts";

/** Bytes of a block of SHA-256: where the message begins in a {@link MacKey.frame}. */
export const MAC_BLOCK_BYTES = 64;

const DIGEST_BYTES = 32;
/** A tag in base64 with padding. */
const TAG_LENGTH = 44;
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;

/** A key that makes tags. Not printable: its bytes are in private fields only. */
export class MacKey {
  readonly #inner: Buffer;
  /** The outer pad, and behind it the inner hash of the message at hand. */
  readonly #outer = Buffer.alloc(MAC_BLOCK_BYTES + DIGEST_BYTES, OUTER_PAD);

  /** `key` is secret and has at most 64 bytes. @throws RangeError for a longer one, which RFC 2104 would hash first: ours have 32. */
  constructor(key: KeyObject) {
    const bytes = key.export();
    if (bytes.length > MAC_BLOCK_BYTES) throw new RangeError(`a key of ${bytes.length} bytes, at most ${MAC_BLOCK_BYTES} fit`);
    this.#inner = Buffer.alloc(MAC_BLOCK_BYTES, INNER_PAD);
    for (const [index, byte] of bytes.entries()) {
      this.#inner[index] = byte ^ INNER_PAD;
      this.#outer[index] = byte ^ OUTER_PAD;
    }
    bytes.fill(0);
  }

  /** Room for a message of `bytes` bytes behind the padded key, which is secret: keep it no longer than the key. */
  frame(bytes: number): Buffer {
    const frame = Buffer.alloc(MAC_BLOCK_BYTES + bytes);
    frame.set(this.#inner);
    return frame;
  }

  /** The tag, in base64, of the message in a {@link frame} of this key. */
  of(frame: Buffer): string {
    const inner = hash("sha256", frame, "latin1");
    for (let index = 0; index < DIGEST_BYTES; index += 1) this.#outer[MAC_BLOCK_BYTES + index] = inner.charCodeAt(index);
    return hash("sha256", this.#outer, "base64");
  }
}

const ours = Buffer.alloc(TAG_LENGTH);
const theirs = Buffer.alloc(TAG_LENGTH);

/** Compares a tag in base64 with what `text` has from `from` on, in constant time. Only the spelling that we would print matches. */
export function sameTag(expected: string, text: string, from: number): boolean {
  // A tag that is no base64 matches nothing; that may be seen in the time it takes.
  if (!putAscii(ours, 0, expected, 0, TAG_LENGTH) || !putAscii(theirs, 0, text, from, TAG_LENGTH)) return false;
  return timingSafeEqual(ours, theirs);
}
