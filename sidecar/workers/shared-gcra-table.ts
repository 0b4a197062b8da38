// The cells of one rate-limit rule in shared memory, so that a limit holds for all processes together. A key is found by a 64-bit fingerprint in one
// set of 16 slots. When a set is full, the key whose arrival time is earliest makes room: one that lies in the past says nothing that an unknown
// key does not say too, so room is nearly always free of charge. Call it under the lock.
//
// HOT PATH: one hash of the key and a scan of at most 16 slots; no allocation.
import type { GcraTable } from "../policy/gcra-table.ts";

/** Slots of one set. With 10 000 keys that are all being limited, one set in 100 000 overflows. */
const WAYS = 16;
/** Sets of a rule with many keys. */
const SETS = 2_048;
const WORDS_PER_SLOT = 2;
const BYTES_PER_SLOT = 16;

/** Where a table lies. */
export interface GcraTablePlace {
  readonly buffer: ArrayBuffer;
  /** A multiple of 8. */
  readonly offset: number;
  readonly sets: number;
}

/** Sets of a rule: one for a rule with a single key. */
export function gcraSets(hasOneKey: boolean): number {
  return hasOneKey ? 1 : SETS;
}

/** Bytes that a table of `sets` sets takes. */
export function gcraTableBytes(sets: number): number {
  return sets * WAYS * BYTES_PER_SLOT;
}

/** Makes this process's view. `seed` (two random words, the same in all processes) keeps callers from choosing keys that collide. */
export function createSharedGcraTable({ buffer, offset, sets }: GcraTablePlace, seed: readonly [number, number]): GcraTable {
  return new SetAssociativeTable(buffer, offset, sets, seed);
}

class SetAssociativeTable implements GcraTable {
  /** By slot. The second word of a fingerprint is never 0, so that a slot that was never used is told apart. */
  readonly #fingerprints: Int32Array;
  readonly #tats: Float64Array;
  readonly #sets: number;
  readonly #seedLow: number;
  readonly #seedHigh: number;
  /** The key looked for last, and its fingerprint: a write follows the read of the same key. Signed, so that V8 keeps them unboxed. */
  #key: string | null = null;
  #low = 0;
  #high = 0;

  constructor(buffer: ArrayBuffer, offset: number, sets: number, [low, high]: readonly [number, number]) {
    const slots = sets * WAYS;
    this.#tats = new Float64Array(buffer, offset, slots);
    this.#fingerprints = new Int32Array(buffer, offset + slots * 8, slots * WORDS_PER_SLOT);
    this.#sets = sets;
    this.#seedLow = low | 0;
    this.#seedHigh = high | 0;
  }

  get size(): number {
    let used = 0;
    for (let word = 1; word < this.#fingerprints.length; word += WORDS_PER_SLOT) if (this.#fingerprints[word] !== 0) used += 1;
    return used;
  }

  read(key: string): number {
    this.#fingerprint(key);
    const slot = this.#find();
    return slot < 0 ? 0 : (this.#tats[slot] as number);
  }

  write(key: string, tatMonoMs: number): void {
    this.#fingerprint(key);
    const found = this.#find();
    if (found >= 0) {
      this.#tats[found] = tatMonoMs;
      return;
    }
    const slot = this.#earliest();
    // A process killed between these lines leaves a slot that belongs to nobody, never another key's time under this key's name.
    this.#fingerprints[slot * WORDS_PER_SLOT + 1] = 0;
    this.#tats[slot] = tatMonoMs;
    this.#fingerprints[slot * WORDS_PER_SLOT] = this.#low;
    this.#fingerprints[slot * WORDS_PER_SLOT + 1] = this.#high;
  }

  /** Two multiply-xor hashes side by side, each with a seed and a finish of its own (the constants are murmur3's). */
  #fingerprint(key: string): void {
    if (key === this.#key) return;
    this.#key = key;
    let low = this.#seedLow;
    let high = this.#seedHigh;
    for (let index = 0; index < key.length; index++) {
      const unit = key.charCodeAt(index);
      low = Math.imul(low ^ unit, 0xcc9e2d51);
      low ^= low >>> 15;
      high = Math.imul(high ^ unit, 0x1b873593);
      high ^= high >>> 13;
    }
    this.#low = finished(low ^ key.length);
    this.#high = finished(high ^ key.length) | 1;
  }

  /** First slot of the key's set. */
  #first(): number {
    return ((this.#low >>> 0) % this.#sets) * WAYS;
  }

  #find(): number {
    const first = this.#first();
    for (let slot = first; slot < first + WAYS; slot++) {
      const word = slot * WORDS_PER_SLOT;
      if (this.#fingerprints[word] === this.#low && this.#fingerprints[word + 1] === this.#high) return slot;
    }
    return -1;
  }

  #earliest(): number {
    const first = this.#first();
    let earliest = first;
    for (let slot = first; slot < first + WAYS; slot++) {
      if (this.#fingerprints[slot * WORDS_PER_SLOT + 1] === 0) return slot;
      if ((this.#tats[slot] as number) < (this.#tats[earliest] as number)) earliest = slot;
    }
    return earliest;
  }
}

function finished(hash: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}
