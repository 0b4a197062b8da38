// Bytes that wait, in the order they came: copied into chunks, so that a thousand frames of one octet cost no more memory than one of a thousand. Owns no bound;
// whoever fills it has one (a flow-control window).

/** Size of the first chunk and of each further one, bytes. */
const FIRST_CHUNK_BYTES = 2 * 1024;
const CHUNK_BYTES = 16 * 1024;

/** Chunks kept for the next bytes that wait: with bulk, something always does. */
const MAX_SPARE_CHUNKS = 64;
const spare: Buffer[] = [];

/** A queue of bytes. */
export class ByteQueue {
  length = 0;
  readonly #chunks: Buffer[] = [];
  /** Where the first chunk's bytes begin, and the last one's end. */
  #from = 0;
  #to = 0;

  /** Copies bytes[start..end) behind what is there. */
  push(bytes: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end) {
      let last = this.#chunks[this.#chunks.length - 1];
      if (last === undefined || this.#to === last.length) {
        last = spare.pop() ?? Buffer.allocUnsafeSlow(this.length === 0 && end - at <= FIRST_CHUNK_BYTES ? FIRST_CHUNK_BYTES : CHUNK_BYTES);
        this.#chunks.push(last);
        this.#to = 0;
      }
      const copied = bytes.copy(last, this.#to, at, end);
      this.#to += copied;
      at += copied;
    }
    this.length += end - start;
  }

  /** The first bytes, as many as are in one piece. Not empty while `length` is not 0. */
  get front(): Buffer {
    const first = this.#chunks[0] as Buffer; // there while length > 0
    return first.subarray(this.#from, this.#chunks.length === 1 ? this.#to : first.length);
  }

  /** Drops the first `count` bytes, all of them of {@link front}, whose bytes are not to be read after it. */
  drop(count: number): void {
    this.#from += count;
    this.length -= count;
    const first = this.#chunks[0] as Buffer; // there, as it holds what is dropped
    if (this.#from < (this.#chunks.length === 1 ? this.#to : first.length)) return;
    this.#chunks.shift();
    if (first.length === CHUNK_BYTES && spare.length < MAX_SPARE_CHUNKS) spare.push(first);
    this.#from = 0;
    if (this.#chunks.length === 0) this.#to = 0;
  }

  /** All bytes in one piece. */
  whole(): Buffer {
    if (this.length === 0) return NO_BYTES;
    if (this.#chunks.length === 1) return this.front;
    const last = this.#chunks.length - 1;
    return Buffer.concat(
      this.#chunks.map((chunk, index) => chunk.subarray(index === 0 ? this.#from : 0, index === last ? this.#to : chunk.length)),
      this.length,
    );
  }

  clear(): void {
    this.#chunks.length = 0;
    this.#from = 0;
    this.#to = 0;
    this.length = 0;
  }
}

const NO_BYTES = Buffer.alloc(0);
