// Writes header blocks of one direction of a connection (RFC 7541 section 3). Owns the table it steers in the peer's decoder and decides what is worth a place
// there. Room in the buffer, frames and the order of fields are left to the caller.
//
// HOT PATH: a field that is in a table is one octet, found by the guess of its entry; a value that comes once is copied, not compressed. An entry costs look-ups
// and Huffman code once, when it enters the table.
import { FIRST_TABLE_BYTES } from "./dynamic-table.ts";
import { EncoderTable } from "./encoder-table.ts";
import { ENTRY_OVERHEAD_BYTES, HeaderEntry, type HeaderName, INDEXING, type Indexing } from "./header-entry.ts";
import { encodeHuffman, huffmanLength } from "./huffman.ts";
import { putInteger } from "./integer.ts";
import { STATIC_COUNT, staticIndex, staticNameIndex } from "./static-table.ts";

/** A larger entry would push nearly everything else out. */
const MAX_SHARE_OF_TABLE = 3 / 4;

/** A place that is neither in the static table nor a number. */
const NOWHERE = -(STATIC_COUNT + 1);

/** Longer texts than a request id are worth a call into native code. */
const MAX_COPIED_HERE = 48;

/** An encoder. */
export class HpackEncoder {
  readonly #table = new EncoderTable();
  readonly #ownMaxTableBytes: number;
  /** What the table will be at the next block. */
  #nextTableBytes: number;
  /** The smallest it was to be since the last block. */
  #leastTableBytes: number;

  /** `ownMaxTableBytes` bounds the table whatever the peer allows. */
  constructor(ownMaxTableBytes: number = FIRST_TABLE_BYTES) {
    this.#ownMaxTableBytes = ownMaxTableBytes;
    this.#nextTableBytes = Math.min(ownMaxTableBytes, FIRST_TABLE_BYTES);
    this.#leastTableBytes = this.#nextTableBytes;
  }

  /** SETTINGS_HEADER_TABLE_SIZE of the peer came. Takes effect, and is told to the peer, with the next block. */
  setPeerTableBytes(bytes: number): void {
    this.#nextTableBytes = Math.min(this.#ownMaxTableBytes, bytes);
    this.#leastTableBytes = Math.min(this.#leastTableBytes, this.#nextTableBytes);
  }

  /** Most octets that {@link begin} and then {@link putEntry} can write. */
  static boundOf(entry: HeaderEntry): number {
    return entry.size;
  }

  /** Most octets that {@link begin} and then {@link putField} can write: two size updates, a pattern and two lengths are fewer than the overhead. */
  static boundOfField(name: string, value: string): number {
    return name.length + value.length + ENTRY_OVERHEAD_BYTES;
  }

  /** Begins a block: writes the size updates that are due (RFC 7541 section 4.2). Returns the index behind them. */
  begin(bytes: Buffer, at: number): number {
    if (this.#leastTableBytes === this.#table.maxBytes && this.#nextTableBytes === this.#table.maxBytes) return at;
    let next = at;
    if (this.#leastTableBytes < this.#nextTableBytes && this.#leastTableBytes < this.#table.maxBytes) {
      next = this.#resize(bytes, next, this.#leastTableBytes);
    }
    next = this.#resize(bytes, next, this.#nextTableBytes);
    this.#leastTableBytes = this.#nextTableBytes;
    return next;
  }

  #resize(bytes: Buffer, at: number, tableBytes: number): number {
    this.#table.resize(tableBytes);
    return putInteger(bytes, at, 0x20, 0x1f, tableBytes);
  }

  /** Writes a field. Returns the index behind it. */
  putEntry(bytes: Buffer, at: number, entry: HeaderEntry): number {
    // An index is no value: a secret that is asked about by its index would be as good as in the table (RFC 7541 section 7.1.3).
    if (entry.indexing === INDEXING.never)
      return putLiteral(bytes, at, 0x10, 0x0f, this.#nameIndex(entry.known), entry.name, entry.value, false);
    const place = entry.place;
    if (place < 0) return putIndex(bytes, at, -place);
    const guessed = this.#table.indexByGuess(entry);
    if (guessed !== 0) return putIndex(bytes, at, guessed);
    return this.#putUnknown(bytes, at, entry);
  }

  #putUnknown(bytes: Buffer, at: number, entry: HeaderEntry): number {
    const place = this.#find(entry.name, entry.value);
    if (place !== NOWHERE) {
      entry.place = place;
      return this.#putPlace(bytes, at, place);
    }
    if (entry.indexing === INDEXING.once || !this.#isWorthAPlace(entry)) {
      return putLiteral(bytes, at, 0x00, 0x0f, this.#nameIndex(entry.known), entry.name, entry.value, false);
    }
    const next = putLiteral(bytes, at, 0x40, 0x3f, this.#nameIndex(entry.known), entry.name, entry.value, true);
    this.#table.insert(entry);
    return next;
  }

  /** The place of a field as `HeaderEntry.place` has it, or {@link NOWHERE}. */
  #find(name: string, value: string): number {
    const index = staticIndex(name, value);
    if (index !== 0) return -index;
    const number = this.#table.numberOf(name, value);
    return number === -1 ? NOWHERE : number;
  }

  #putPlace(bytes: Buffer, at: number, place: number): number {
    return putIndex(bytes, at, place < 0 ? -place : this.#table.indexOf(place));
  }

  #isWorthAPlace(entry: HeaderEntry): boolean {
    return entry.size <= this.#table.maxBytes * MAX_SHARE_OF_TABLE && !entry.known.isChanging;
  }

  /** The index of a name; 0 without one. */
  #nameIndex(known: HeaderName): number {
    if (known.staticIndex === -1) known.staticIndex = staticNameIndex(known.text);
    return known.staticIndex !== 0 ? known.staticIndex : this.#table.nameIndex(known.text);
  }

  /** Writes a field of a known name whose value is not expected again. Returns the index behind it. */
  putOnce(bytes: Buffer, at: number, known: HeaderName, value: string): number {
    return putLiteral(bytes, at, 0x00, 0x0f, this.#nameIndex(known), known.text, value, false);
  }

  /** Writes a field that is no entry yet: see {@link putEntry}. One that comes again is better made an entry. */
  putField(bytes: Buffer, at: number, name: string, value: string, indexing: Indexing): number {
    if (indexing !== INDEXING.never) {
      const place = this.#find(name, value);
      if (place !== NOWHERE) return this.#putPlace(bytes, at, place);
      if (indexing === INDEXING.indexed) return this.#putUnknown(bytes, at, new HeaderEntry(name, value, indexing));
    }
    const pattern = indexing === INDEXING.never ? 0x10 : 0x00;
    return putLiteral(bytes, at, pattern, 0x0f, staticNameIndex(name) || this.#table.nameIndex(name), name, value, false);
  }
}

function putIndex(bytes: Buffer, at: number, index: number): number {
  if (index >= 0x7f) return putInteger(bytes, at, 0x80, 0x7f, index);
  bytes[at] = 0x80 | index;
  return at + 1;
}

/** RFC 7541 section 6.2. The name is written where it has no index. What is kept is compressed: that is paid once. */
function putLiteral(
  bytes: Buffer,
  at: number,
  pattern: number,
  mask: number,
  nameIndex: number,
  name: string,
  value: string,
  isKept: boolean,
): number {
  let next = putInteger(bytes, at, pattern, mask, nameIndex);
  if (nameIndex === 0) next = isKept ? putShortest(bytes, next, name) : putRaw(bytes, next, name);
  return isKept ? putShortest(bytes, next, value) : putRaw(bytes, next, value);
}

function putShortest(bytes: Buffer, at: number, text: string): number {
  const length = huffmanLength(text);
  if (length >= text.length) return putRaw(bytes, at, text);
  return encodeHuffman(text, bytes, putInteger(bytes, at, 0x80, 0x7f, length));
}

function putRaw(bytes: Buffer, at: number, text: string): number {
  const { length } = text;
  const start = putInteger(bytes, at, 0x00, 0x7f, length);
  if (length > MAX_COPIED_HERE) return start + bytes.write(text, start, "latin1");
  for (let index = 0; index < length; index += 1) bytes[start + index] = text.charCodeAt(index);
  return start + length;
}
