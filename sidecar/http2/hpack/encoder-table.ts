// The table an encoder writes into, and what finds an entry in it again: by the entry's own guess, by name and value, by name alone. Look-ups hold what the
// table holds and no more: what is evicted leaves them.
//
// HOT PATH: an entry that was written on this connection before is found by its guess, without a map.
import { DynamicTable } from "./dynamic-table.ts";
import type { HeaderEntry } from "./header-entry.ts";
import { STATIC_COUNT } from "./static-table.ts";

/** Which numbers a name has in the table. */
interface TableName {
  /** The newest entry with it. */
  newest: number;
  /** The newest entry by value. */
  readonly values: Map<string, number>;
}

/** A table with look-ups. Indices are those of HPACK: the first is behind the static table. */
export class EncoderTable {
  readonly #table = new DynamicTable();
  readonly #names = new Map<string, TableName>();

  get maxBytes(): number {
    return this.#table.maxBytes;
  }

  /** Entries in it; bounds the look-ups too. */
  get count(): number {
    return this.#table.count;
  }

  /** Names that can be looked up. */
  get names(): number {
    return this.#names.size;
  }

  /** The index of an entry by its guess; 0 when the guess is wrong. */
  indexByGuess(entry: HeaderEntry): number {
    const place = entry.place;
    const found = this.#table.at(place);
    // Another connection's entry may have the same texts: comparing them is still cheaper than a map.
    if (found !== entry && (found.value !== entry.value || found.name !== entry.name)) return 0;
    return STATIC_COUNT + 1 + this.#table.ageAt(place);
  }

  /** The number of an entry by its texts; -1 without one. */
  numberOf(name: string, value: string): number {
    return this.#names.get(name)?.values.get(value) ?? -1;
  }

  /** The index of what has a number. */
  indexOf(number: number): number {
    return STATIC_COUNT + 1 + this.#table.ageAt(number);
  }

  /** The index of the newest entry with a name; 0 without one. */
  nameIndex(name: string): number {
    const known = this.#names.get(name);
    return known === undefined ? 0 : this.indexOf(known.newest);
  }

  /** Adds an entry, which is no larger than the table, and sets its guess. */
  insert(entry: HeaderEntry): void {
    const table = this.#table;
    this.#makeRoomFor(entry.size);
    const number = table.nextNumber;
    table.add(entry);
    entry.place = number;
    const known = this.#names.get(entry.name);
    if (known === undefined) this.#names.set(entry.name, { newest: number, values: new Map([[entry.value, number]]) });
    else {
      known.newest = number;
      known.values.set(entry.value, number);
    }
  }

  /** Sets the bound, and drops what is beyond. */
  resize(maxBytes: number): void {
    this.#table.maxBytes = maxBytes;
    this.#makeRoomFor(0);
  }

  #makeRoomFor(size: number): void {
    while (this.#table.count > 0 && !this.#table.hasRoomFor(size)) this.#dropOldest();
  }

  #dropOldest(): void {
    const table = this.#table;
    const number = table.nextNumber - table.count;
    const { name, value } = table.dropOldest();
    const known = this.#names.get(name);
    if (known === undefined) return;
    if (known.newest === number) this.#names.delete(name);
    else if (known.values.get(value) === number) known.values.delete(value);
  }
}
