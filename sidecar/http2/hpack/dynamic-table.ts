// The dynamic table (RFC 7541 sections 2.3.2 and 4): the newest entries of one direction of a connection, as a ring. It bounds itself by the octets its
// entries count; who may change the bound, and when, is the business of the decoder and the encoder.
//
// HOT PATH: a look-up is a mask and an array access. The ring grows with what is put in and is at most one place per 32 bytes of the bound.
import { HeaderEntry, INDEXING } from "./header-entry.ts";

/** Bound of a table before SETTINGS say otherwise (RFC 9113 section 6.5.2). */
export const FIRST_TABLE_BYTES = 4096;

const FIRST_PLACES = 32;

/** In every place without an entry. Like no field: its name is no Latin-1. */
export const NO_ENTRY = new HeaderEntry("\u{100}", "", INDEXING.never);

/** A table. Ages count from 0, the newest entry, up; numbers count the entries in the order they came, and the low bits of a number are its place. */
export class DynamicTable {
  /** Entries in it. */
  count = 0;
  /** What they count, at most `maxBytes` but between a change of that and {@link dropOldest}. */
  bytes = 0;
  maxBytes = FIRST_TABLE_BYTES;
  /** The number of the next entry. */
  nextNumber = 0;
  #ring: HeaderEntry[] = emptyRing(FIRST_PLACES);
  /** Places of the ring less one. */
  #mask = FIRST_PLACES - 1;

  /** The entry of an age, or {@link NO_ENTRY}. */
  entry(age: number): HeaderEntry {
    return age < this.count ? (this.#ring[(this.nextNumber - 1 - age) & this.#mask] as HeaderEntry) : NO_ENTRY;
  }

  /** The entry at the place of a number, or {@link NO_ENTRY}. Any whole number has a place. */
  at(number: number): HeaderEntry {
    return this.#ring[number & this.#mask] as HeaderEntry;
  }

  /** The age of the entry at the place of a number, where there is one. */
  ageAt(number: number): number {
    return (this.nextNumber - 1 - number) & this.#mask;
  }

  /** True when nothing must go for an entry of `size`. */
  hasRoomFor(size: number): boolean {
    return this.bytes + size <= this.maxBytes;
  }

  /** Adds an entry there is room for. */
  add(entry: HeaderEntry): void {
    if (this.count > this.#mask) this.#grow();
    this.#ring[this.nextNumber & this.#mask] = entry;
    this.nextNumber += 1;
    this.count += 1;
    this.bytes += entry.size;
  }

  /** Takes the oldest entry out; there is one. */
  dropOldest(): HeaderEntry {
    const place = (this.nextNumber - this.count) & this.#mask;
    const entry = this.#ring[place] as HeaderEntry;
    this.#ring[place] = NO_ENTRY;
    this.count -= 1;
    this.bytes -= entry.size;
    return entry;
  }

  #grow(): void {
    const ring = emptyRing(2 * this.#ring.length);
    const mask = ring.length - 1;
    for (let number = this.nextNumber - this.count; number < this.nextNumber; number += 1) ring[number & mask] = this.at(number);
    this.#ring = ring;
    this.#mask = mask;
  }
}

function emptyRing(places: number): HeaderEntry[] {
  return new Array<HeaderEntry>(places).fill(NO_ENTRY);
}
