// Reads header blocks of one direction of a connection (RFC 7541 section 3). Owns the dynamic table that the peer's encoder steers. What a list of fields may
// be, how large it may get and who is refused is left to the sink, which may ignore entries: the table is right all the same.
//
// HOT PATH: a field that is in a table is passed on as the entry it is: one octet read, nothing allocated. A literal costs its texts and one entry.
import { DynamicTable, FIRST_TABLE_BYTES, NO_ENTRY } from "./dynamic-table.ts";
import { type HeaderEntry, type HeaderName, INDEXING, type Indexing, PSEUDO } from "./header-entry.ts";
import { integerIn, octetsOf, readInteger } from "./integer.ts";
import { nameIn } from "./known-names.ts";
import { knownPath } from "./known-paths.ts";
import { entryIn } from "./literal-text.ts";
import { STATIC_COUNT, STATIC_ENTRIES } from "./static-table.ts";

/** Where the fields of a block go, in order. */
export interface HeaderSink {
  add(entry: HeaderEntry): void;
}

/** Most size updates in front of a block: down and up again (RFC 7541 section 4.2). */
const MAX_SIZE_UPDATES = 2;

/** A decoder. After a flaw the connection is lost: the tables of the two sides differ. */
export class HpackDecoder {
  /** What is wrong; empty until {@link decode} returned false. */
  flaw = "";
  /** Entries that were put into the table since its creation: each costs more than a field that is in it, so that a guard wants to count them. */
  insertions = 0;
  readonly #table = new DynamicTable();
  /** Most the peer may make of the table. */
  #limitBytes: number;
  /** Set while the peer owes a size update: it acknowledged a smaller limit than its table has. */
  #owesUpdate = false;
  /** Behind the string that was read last. */
  #behind = 0;

  /**
   * `maxTableBytes` is what our first SETTINGS say. A peer that has not seen them uses up to {@link FIRST_TABLE_BYTES}; a smaller limit holds from
   * {@link limitTable} on.
   */
  constructor(maxTableBytes: number = FIRST_TABLE_BYTES) {
    this.#limitBytes = Math.max(maxTableBytes, FIRST_TABLE_BYTES);
  }

  /** The peer acknowledged SETTINGS with this SETTINGS_HEADER_TABLE_SIZE. */
  limitTable(maxTableBytes: number): void {
    this.#limitBytes = maxTableBytes;
    this.#owesUpdate = this.#table.maxBytes > maxTableBytes;
  }

  /** What the entries of the table count. */
  get tableBytes(): number {
    return this.#table.bytes;
  }

  /** Reads one whole block, bytes[start..end). False for a COMPRESSION_ERROR; some fields may have been given to the sink by then. */
  decode(bytes: Buffer, start: number, end: number, into: HeaderSink): boolean {
    return this.#readFields(bytes, start, end, into) !== -1;
  }

  #readFields(bytes: Buffer, start: number, end: number, into: HeaderSink): number {
    let at = this.#readSizeUpdates(bytes, start, end);
    while (at < end && at !== -1) {
      const octet = bytes[at] as number;
      // An index of one octet: 0x80 would be index 0, and 0xff goes on in the next octet.
      if (octet > 0x80 && octet < 0xff) {
        const index = octet & 0x7f;
        const entry = index <= STATIC_COUNT ? (STATIC_ENTRIES[index] as HeaderEntry) : this.#table.entry(index - STATIC_COUNT - 1);
        if (entry === NO_ENTRY) return this.#fail("index beyond the table");
        into.add(entry);
        at += 1;
      } else if (octet >= 0x80) at = this.#readIndexed(bytes, at, end, into);
      else if (octet >= 0x40) at = this.#readLiteral(bytes, at, end, 0x3f, INDEXING.indexed, into);
      else if (octet >= 0x20) at = this.#fail("table size update behind a field");
      else at = this.#readLiteral(bytes, at, end, 0x0f, octet >= 0x10 ? INDEXING.never : INDEXING.once, into);
    }
    return at;
  }

  #readSizeUpdates(bytes: Buffer, start: number, end: number): number {
    let at = start;
    for (let updates = 0; at < end && ((bytes[at] as number) & 0xe0) === 0x20; updates += 1) {
      if (updates === MAX_SIZE_UPDATES) return this.#fail("too many table size updates");
      const read = readInteger(bytes, at, end, 0x1f);
      if (read === -1) return this.#fail("table size is no number");
      const maxBytes = integerIn(read);
      if (maxBytes > this.#limitBytes) return this.#fail("table size beyond SETTINGS_HEADER_TABLE_SIZE");
      this.#table.maxBytes = maxBytes;
      this.#makeRoomFor(0);
      this.#owesUpdate = false;
      at += octetsOf(read);
    }
    return this.#owesUpdate ? this.#fail("table not reduced to SETTINGS_HEADER_TABLE_SIZE") : at;
  }

  #readIndexed(bytes: Buffer, at: number, end: number, into: HeaderSink): number {
    const read = readInteger(bytes, at, end, 0x7f);
    if (read === -1) return this.#fail("index is no number");
    const entry = this.#entry(integerIn(read));
    if (entry === NO_ENTRY) return this.#fail("index beyond the table");
    into.add(entry);
    return at + octetsOf(read);
  }

  /** The entry of an index, or {@link NO_ENTRY}. */
  #entry(index: number): HeaderEntry {
    if (index > STATIC_COUNT) return this.#table.entry(index - STATIC_COUNT - 1);
    return index === 0 ? NO_ENTRY : (STATIC_ENTRIES[index] as HeaderEntry);
  }

  /** Sections 6.2.1 to 6.2.3: `mask` has the bits of the name's index. */
  #readLiteral(bytes: Buffer, at: number, end: number, mask: number, indexing: Indexing, into: HeaderSink): number {
    const read = readInteger(bytes, at, end, mask);
    if (read === -1) return this.#fail("index is no number");
    const index = integerIn(read);
    this.#behind = at + octetsOf(read);
    const name = index === 0 ? this.#readName(bytes, this.#behind, end) : this.#entry(index).known;
    if (name === null) return -1;
    if (name === NO_ENTRY.known) return this.#fail("index beyond the table");
    const entry = this.#readEntry(bytes, this.#behind, end, name, indexing);
    if (entry === null) return -1;
    if (indexing === INDEXING.indexed) this.#insert(entry);
    into.add(entry);
    return this.#behind;
  }

  #readName(bytes: Buffer, at: number, end: number): HeaderName | null {
    const start = this.#readLength(bytes, at, end);
    if (start === -1) return null;
    return nameIn(bytes, start, this.#behind, (bytes[at] as number) >= 0x80) ?? this.#failHuffman();
  }

  #readEntry(bytes: Buffer, at: number, end: number, name: HeaderName, indexing: Indexing): HeaderEntry | null {
    const start = this.#readLength(bytes, at, end);
    if (start === -1) return null;
    const behind = this.#behind;
    const isHuffman = (bytes[at] as number) >= 0x80;
    if (indexing === INDEXING.once && name.pseudo === PSEUDO.path) {
      const known = knownPath(bytes, start, behind, isHuffman);
      if (known !== null) return known;
    }
    return entryIn(bytes, start, behind, isHuffman, name, indexing) ?? this.#failHuffman();
  }

  /** Section 5.2: where the octets of a string begin, or -1. Leaves in `#behind` where they end. */
  #readLength(bytes: Buffer, at: number, end: number): number {
    const read = at < end ? readInteger(bytes, at, end, 0x7f) : -1;
    if (read === -1) return this.#fail("length of a string is no number");
    const start = at + octetsOf(read);
    if (integerIn(read) > end - start) return this.#fail("string beyond the block");
    this.#behind = start + integerIn(read);
    return start;
  }

  /** Section 4.4: an entry larger than the table empties it and is no error. */
  #insert(entry: HeaderEntry): void {
    const table = this.#table;
    this.insertions += 1;
    this.#makeRoomFor(entry.size);
    if (table.hasRoomFor(entry.size)) table.add(entry);
  }

  #makeRoomFor(size: number): void {
    const table = this.#table;
    while (table.count > 0 && !table.hasRoomFor(size)) table.dropOldest();
  }

  #failHuffman(): null {
    this.#fail("not Huffman code");
    return null;
  }

  #fail(flaw: string): -1 {
    this.flaw = flaw;
    return -1;
  }
}
