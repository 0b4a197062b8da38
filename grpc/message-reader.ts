// Cuts what comes on a call into its messages (gRPC over HTTP/2, "Length-Prefixed-Message"): a flag, four octets of length, the message. Owns what of one has come so
// far; compressed ones, which nobody was offered, are refused.
//
// HOT PATH: a message that came in one piece is given as a view of that piece; nothing is copied.
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
  /** What of a message, prefix and all, came without its end. */
  #begun = NO_BYTES;
  #isBroken = false;

  constructor(owner: MessageOwner, maxBytes: number) {
    this.#owner = owner;
    this.#maxBytes = maxBytes;
  }

  /** True while the end of a message is missing. */
  get isUnfinished(): boolean {
    return this.#begun.length > 0;
  }

  /** Takes bytes[start..end). */
  read(bytes: Buffer, start: number, end: number): void {
    if (this.#begun.length === 0) return this.#cut(bytes, start, end);
    const joined = Buffer.concat([this.#begun, bytes.subarray(start, end)]);
    this.#begun = NO_BYTES;
    this.#cut(joined, 0, joined.length);
  }

  #cut(bytes: Buffer, start: number, end: number): void {
    let at = start;
    while (end - at >= PREFIX_BYTES && !this.#isBroken) {
      const length = bytes.readUInt32BE(at + 1);
      if (bytes[at] !== 0) return this.#break("compressed", length);
      if (length > this.#maxBytes) return this.#break("too_large", length);
      const next = at + PREFIX_BYTES + length;
      if (next > end) break;
      this.#owner.onMessage(bytes, at + PREFIX_BYTES, next);
      at = next;
    }
    if (at < end && !this.#isBroken) this.#begun = Buffer.from(bytes.subarray(at, end));
  }

  #break(flaw: MessageFlaw, length: number): void {
    this.#isBroken = true;
    this.#begun = NO_BYTES;
    this.#owner.onMessageFlaw(flaw, length);
  }
}
