// A request body that must be known whole before it is passed on (design 9): its content for the digest, and the bytes as they came for forwarding.
// Bounded by its user.

/** Collects one body. */
export class HeldBody {
  /** Bytes of content so far, framing not counted. */
  contentBytes = 0;
  readonly #content: Buffer[] = [];
  readonly #raw: Buffer[] = [];

  /** Adds content; may be passed as a callback. */
  readonly addContent = (bytes: Buffer, start: number, end: number): void => {
    this.contentBytes += end - start;
    this.#content.push(Buffer.from(bytes.subarray(start, end)));
  };

  /** Adds bytes as they came, framing included. */
  addRaw(bytes: Buffer, start: number, end: number): void {
    this.#raw.push(Buffer.from(bytes.subarray(start, end)));
  }

  content(): Buffer {
    return Buffer.concat(this.#content);
  }

  raw(): Buffer {
    return Buffer.concat(this.#raw);
  }
}
