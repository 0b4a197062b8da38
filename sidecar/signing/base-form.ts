// A signature base (RFC 9421 2.5) with blanks. Between the same two keys all requests of a kind have the same base but for four values of fixed length:
// channel binding, digest, times and nonce. So the base is printed once, behind the padded key, and each request only fills in what differs.
// Owns the places of the blanks; the text is profile.ts's, the tag mac-key.ts's.
//
// HOT PATH: two to four short writes, and one HMAC over bytes that are already in place.
import { MAC_BLOCK_BYTES, type MacKey } from "./mac-key.ts";
import {
  BINDING_LENGTH,
  type Blanks,
  basePieces,
  type BodyKind,
  type CallHead,
  DIGEST_LENGTH,
  ID_LENGTH,
  profileBase,
  TIMES_LENGTH,
} from "./profile.ts";
import { putAscii } from "./put-ascii.ts";

/** The base of one kind of request under one key. */
export class BaseForm {
  readonly #key: MacKey;
  readonly #call: CallHead;
  readonly #body: BodyKind;
  readonly #keyId: string;
  readonly #frame: Buffer;
  readonly #bindingAt: number;
  readonly #digestAt: number;
  readonly #digestLength: number;
  readonly #timesAt: number;
  readonly #nonceAt: number;
  /** What is written there now. */
  #binding = "";
  #times = "";

  /** `keyId`: `<src>.<dst>`, the two that `key` was derived of. */
  constructor(key: MacKey, call: CallHead, body: BodyKind, keyId: string) {
    this.#key = key;
    this.#call = call;
    this.#body = body;
    this.#keyId = keyId;
    const pieces = basePieces(call, body, keyId, "hmac-sha256");
    this.#digestLength = body === "digest" ? DIGEST_LENGTH : 0;
    const base = profileBase(pieces, {
      binding: blank(BINDING_LENGTH),
      digest: blank(this.#digestLength),
      times: blank(TIMES_LENGTH),
      nonce: blank(ID_LENGTH),
      nonceFrom: 0,
    });
    const bytes = Buffer.from(base);
    this.#frame = key.frame(bytes.length);
    this.#frame.set(bytes, MAC_BLOCK_BYTES);
    // From the end, as what stands behind the path is ASCII.
    this.#nonceAt = this.#frame.length - pieces.behindNonce.length - ID_LENGTH;
    this.#timesAt = this.#nonceAt - pieces.beforeNonce.length - TIMES_LENGTH;
    this.#digestAt = this.#timesAt - pieces.beforeTimes.length - this.#digestLength;
    this.#bindingAt = this.#digestAt - pieces.beforeDigest.length - BINDING_LENGTH;
  }

  /** Bytes that it takes. */
  get size(): number {
    return this.#frame.length;
  }

  /** True when it is the base of such a request. */
  isOf(call: CallHead, body: BodyKind, keyId: string): boolean {
    const mine = this.#call;
    return (
      mine.path === call.path &&
      mine.method === call.method &&
      mine.authority === call.authority &&
      mine.contentType === call.contentType &&
      mine.src === call.src &&
      mine.dst === call.dst &&
      this.#body === body &&
      this.#keyId === keyId
    );
  }

  /** The tag of a request, in base64; null when a value does not fit its blank. */
  tag({ binding, digest, times, nonce, nonceFrom }: Blanks): string | null {
    const frame = this.#frame;
    // A longer one would be signed in part.
    if (binding.length !== BINDING_LENGTH || times.length !== TIMES_LENGTH || digest.length !== this.#digestLength) return null;
    if (binding !== this.#binding) {
      this.#binding = ""; // nothing to rely on until it is written
      if (!putAscii(frame, this.#bindingAt, binding, 0, BINDING_LENGTH)) return null;
      this.#binding = binding;
    }
    if (times !== this.#times) {
      this.#times = "";
      if (!putAscii(frame, this.#timesAt, times, 0, TIMES_LENGTH)) return null;
      this.#times = times;
    }
    if (!putAscii(frame, this.#digestAt, digest, 0, this.#digestLength) || !putAscii(frame, this.#nonceAt, nonce, nonceFrom, ID_LENGTH))
      return null;
    return this.#key.of(frame);
  }
}

function blank(length: number): string {
  return " ".repeat(length);
}
