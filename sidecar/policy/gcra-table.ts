// A bounded table of GCRA cells (ITU-T I.371 A.1), least recently used out first. One number per key: the theoretical arrival time (TAT).
// Owns memory and order; when to consume is decided by `rate-limit.ts`.
//
// HOT PATH: one hash lookup and a relink per request; no allocation for a known key. Arrays grow by doubling up to the bound, so that
// a rule that never sees traffic costs nothing.

/** No slot. */
const NONE = -1;

/** Slots at first. */
const FIRST_SLOTS = 16;

/** Cells by key. */
export interface GcraTable {
  /** Number of keys held, at most the bound. */
  readonly size: number;
  /** TAT of `key` in monotonic ms, or 0 when the key is not held (a key that was never seen, or evicted, has its full burst). */
  read(key: string): number;
  /** Sets the TAT of `key` and makes it the most recent one. At the bound the least recent key is dropped. */
  write(key: string, tatMonoMs: number): void;
}

/** Makes a table of at most `maxKeys` keys (1 or more). */
export function createGcraTable(maxKeys: number): GcraTable {
  return new LinkedGcraTable(Math.max(1, maxKeys));
}

class LinkedGcraTable implements GcraTable {
  readonly #maxKeys: number;
  readonly #slots = new Map<string, number>();
  /** By slot; parallel to the links. */
  #keys: string[] = [];
  #tats = new Float64Array(FIRST_SLOTS);
  #newer = new Int32Array(FIRST_SLOTS);
  #older = new Int32Array(FIRST_SLOTS);
  /** Most and least recently written slot; NONE exactly while the table is empty. */
  #newest = NONE;
  #oldest = NONE;

  constructor(maxKeys: number) {
    this.#maxKeys = maxKeys;
  }

  get size(): number {
    return this.#slots.size;
  }

  read(key: string): number {
    const slot = this.#slots.get(key);
    return slot === undefined ? 0 : (this.#tats[slot] as number); // slots index all arrays
  }

  write(key: string, tatMonoMs: number): void {
    let slot = this.#slots.get(key);
    if (slot === undefined) slot = this.#claim(key);
    else if (slot !== this.#newest) this.#unlink(slot);
    this.#tats[slot] = tatMonoMs;
    if (slot !== this.#newest) this.#linkNewest(slot);
  }

  #claim(key: string): number {
    let slot = this.#slots.size;
    if (slot >= this.#maxKeys) {
      slot = this.#oldest;
      this.#slots.delete(this.#keys[slot] as string);
      this.#unlink(slot);
    } else if (slot >= this.#tats.length) {
      this.#grow();
    }
    this.#slots.set(key, slot);
    this.#keys[slot] = key;
    return slot;
  }

  #unlink(slot: number): void {
    const newer = this.#newer[slot] as number;
    const older = this.#older[slot] as number;
    if (newer === NONE) this.#newest = older;
    else this.#older[newer] = older;
    if (older === NONE) this.#oldest = newer;
    else this.#newer[older] = newer;
  }

  #linkNewest(slot: number): void {
    this.#newer[slot] = NONE;
    this.#older[slot] = this.#newest;
    if (this.#newest === NONE) this.#oldest = slot;
    else this.#newer[this.#newest] = slot;
    this.#newest = slot;
  }

  #grow(): void {
    const slots = Math.min(this.#tats.length * 2, this.#maxKeys);
    const tats = new Float64Array(slots);
    tats.set(this.#tats);
    this.#tats = tats;
    this.#newer = grown(this.#newer, slots);
    this.#older = grown(this.#older, slots);
  }
}

function grown(from: Int32Array<ArrayBuffer>, slots: number): Int32Array<ArrayBuffer> {
  const to = new Int32Array(slots);
  to.set(from);
  return to;
}
