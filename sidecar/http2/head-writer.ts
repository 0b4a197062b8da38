// Writes header sections (RFC 9113 section 6.2): encodes a head's fields right into the outbox, with the frame's header in front when its length is known. A head
// that may not fit into one frame is put together aside and cut into CONTINUATIONs (section 6.10).
//
// HOT PATH: per field one call of the encoder; no list is made.
import type { FieldView, HeadEdit, StandingFields } from "../fields.ts";
import { isLeftOut } from "../fields.ts";
import { FLAG, FRAME, FRAME_HEADER_BYTES, MAX_FRAME_BYTES, putFrameHeader } from "./frames.ts";
import { HeaderList } from "./header-list.ts";
import type { HpackEncoder } from "./hpack/encoder.ts";
import { HeaderEntry, HeaderName, INDEXING } from "./hpack/header-entry.ts";
import type { Outbox } from "./outbox.ts";

/** Most octets that a section's size updates take, and what a field takes beyond its texts. */
const SECTION_OVERHEAD_BYTES = 32;
const FIELD_OVERHEAD_BYTES = 32;

/** A name that the stages add, and the last field of it. */
interface AddedName {
  readonly name: HeaderName;
  last: HeaderEntry;
}

/** More than the stages have. */
const MAX_ADDED_NAMES = 64;
const addedNames = new Map<string, AddedName>();

function rememberName(text: string): AddedName {
  if (addedNames.size === MAX_ADDED_NAMES) addedNames.clear();
  const name = new HeaderName(text);
  const known: AddedName = { name, last: new HeaderEntry(name, "", INDEXING.indexed) };
  addedNames.set(text, known);
  return known;
}

/** The entries of fields that repeat with each request of a connection. */
const standingEntries = new WeakMap<StandingFields, readonly HeaderEntry[]>();

const NO_BYTES = Buffer.alloc(0);

/** Writes the heads of one connection. */
export class HeadWriter {
  readonly #encoder: HpackEncoder;
  readonly #outbox: Outbox;
  #buffer: Buffer = NO_BYTES;
  #at = 0;
  #isDirect = true;
  #standing: StandingFields | null = null;
  #standingEntries: readonly HeaderEntry[] = [];

  constructor(encoder: HpackEncoder, outbox: Outbox) {
    this.#encoder = encoder;
    this.#outbox = outbox;
  }

  /** Begins a section whose fields, without the pseudo-header ones that `pseudoBytes` stands for, are `fields` as `edit` leaves them. */
  begin(fields: FieldView, edit: HeadEdit, pseudoBytes: number): void {
    const most = SECTION_OVERHEAD_BYTES + pseudoBytes + bytesOf(fields) + addedBytes(edit);
    this.#isDirect = most <= MAX_FRAME_BYTES;
    if (this.#isDirect) {
      this.#buffer = this.#outbox.room(FRAME_HEADER_BYTES + most);
      this.#at = this.#outbox.length + FRAME_HEADER_BYTES;
    } else {
      this.#buffer = Buffer.allocUnsafe(most);
      this.#at = 0;
    }
    this.#at = this.#encoder.begin(this.#buffer, this.#at);
  }

  entry(entry: HeaderEntry): void {
    this.#at = this.#encoder.putEntry(this.#buffer, this.#at, entry);
  }

  /** A field whose value is not expected again. */
  once(name: string, value: string): void {
    this.#at = this.#encoder.putField(this.#buffer, this.#at, name, value, INDEXING.once);
  }

  /** A field that will come again. */
  repeated(name: string, value: string): void {
    this.#at = this.#encoder.putField(this.#buffer, this.#at, name, value, INDEXING.indexed);
  }

  /** Fields as an edit leaves them, and what it adds. */
  fields(fields: FieldView, edit: HeadEdit, alsoStrip: number): void {
    if (fields instanceof HeaderList) this.#entries(fields, edit, alsoStrip);
    else this.#texts(fields, edit, alsoStrip);
    const { added, standing } = edit;
    for (let index = 0; index < added.length; index += 2) this.#add(added[index] as string, added[index + 1] as string);
    if (standing !== null) this.#putStanding(standing);
  }

  /** A field of the stages': few names, whose values are another each time or mostly the same. */
  #add(name: string, value: string): void {
    const known = addedNames.get(name) ?? rememberName(name);
    if (known.name.isChanging) this.#at = this.#encoder.putOnce(this.#buffer, this.#at, known.name, value);
    else {
      if (known.last.value !== value) known.last = new HeaderEntry(known.name, value, INDEXING.indexed);
      this.entry(known.last);
    }
  }

  #entries(list: HeaderList, edit: HeadEdit, alsoStrip: number): void {
    const { entries } = list;
    const strip = edit.strip | alsoStrip;
    const isPlain = edit.nominated === null;
    for (let index = 0; index < entries.length; index += 1) {
      const entry = entries[index] as HeaderEntry;
      if ((entry.kind & strip) === 0 && (isPlain || !isLeftOut(list, index, edit))) this.entry(entry);
    }
  }

  #texts(fields: FieldView, edit: HeadEdit, alsoStrip: number): void {
    for (let index = 0; index < fields.count; index += 1) {
      if ((fields.kind(index) & alsoStrip) !== 0 || isLeftOut(fields, index, edit)) continue;
      this.once(fields.name(index).toLowerCase(), fields.value(index));
    }
  }

  #putStanding(standing: StandingFields): void {
    if (standing !== this.#standing) {
      this.#standing = standing;
      this.#standingEntries = entriesOf(standing);
    }
    for (const entry of this.#standingEntries) this.entry(entry);
  }

  /** Ends the section: a HEADERS frame, and CONTINUATIONs where it is longer than one. */
  end(streamId: number, isEndOfStream: boolean): void {
    const flags = isEndOfStream ? FLAG.endStream : 0;
    const buffer = this.#buffer;
    // The outbox lends it; a connection that rests would keep the one of its last head.
    this.#buffer = NO_BYTES;
    if (!this.#isDirect) return this.#cut(buffer, streamId, flags);
    const start = this.#outbox.length;
    putFrameHeader(buffer, start, this.#at - start - FRAME_HEADER_BYTES, FRAME.headers, flags | FLAG.endHeaders, streamId);
    this.#outbox.length = this.#at;
  }

  #cut(section: Buffer, streamId: number, flags: number): void {
    const length = this.#at;
    let from = 0;
    do {
      const to = Math.min(length, from + MAX_FRAME_BYTES);
      const buffer = this.#outbox.room(FRAME_HEADER_BYTES + to - from);
      const type = from === 0 ? FRAME.headers : FRAME.continuation;
      const flagsHere = (from === 0 ? flags : 0) | (to === length ? FLAG.endHeaders : 0);
      const at = putFrameHeader(buffer, this.#outbox.length, to - from, type, flagsHere, streamId);
      this.#outbox.length = at + section.copy(buffer, at, from, to);
      from = to;
    } while (from < length);
  }
}

/** Most octets that the fields take: what they count as in a table. */
function bytesOf(fields: FieldView): number {
  if (fields instanceof HeaderList) return fields.bytes;
  let bytes = 0;
  for (let index = 0; index < fields.count; index += 1)
    bytes += fields.name(index).length + fields.valueLength(index) + FIELD_OVERHEAD_BYTES;
  return bytes;
}

function addedBytes({ added, standing }: HeadEdit): number {
  let bytes = standing === null ? 0 : textBytes(standing.flat);
  if (added.length > 0) bytes += textBytes(added);
  return bytes;
}

function textBytes(flat: readonly string[]): number {
  let bytes = 0;
  for (let index = 0; index < flat.length; index += 2)
    bytes += (flat[index] as string).length + (flat[index + 1] as string).length + FIELD_OVERHEAD_BYTES;
  return bytes;
}

function entriesOf(standing: StandingFields): readonly HeaderEntry[] {
  let entries = standingEntries.get(standing);
  if (entries === undefined) {
    const made: HeaderEntry[] = [];
    for (let index = 0; index < standing.flat.length; index += 2)
      made.push(new HeaderEntry(standing.flat[index] as string, standing.flat[index + 1] as string, INDEXING.indexed));
    standingEntries.set(standing, made);
    entries = made;
  }
  return entries;
}
