// Remembers the nonces of verified signatures until they could no longer be accepted anyway (design 9). Two generations: new nonces go into the current
// one; when all of the previous one are past their time, it is thrown away at once and the current one takes its place. A full generation is
// told to the caller, never passed over: what cannot be remembered must not be accepted.
//
// HOT PATH: 16 bytes in open-addressed typed arrays (no object and no string is kept), so that a million nonces are 21 MB and no work for the collector.
// Tables start small and double.
import type { Clock } from "../../core/clock.ts";
import { NONCE_BYTES } from "./profile.ts";

/** Answer to a nonce. */
export type NonceAnswer = "fresh" | "replayed" | "full";

/** The memory of nonces. */
export interface NonceCache {
  /** Nonces held. */
  size(): number;
  /** Remembers a nonce (16 bytes) until `expiresAtMs` (wall clock) is over; anything but `fresh` must be refused. */
  claim(nonce: Uint8Array, expiresAtMs: number): NonceAnswer;
}

/**
 * Default bound of one generation. A generation lives as long as a signature (30 s and 20 s of skew), so that this carries 15 000 signed requests a second; one
 * full generation takes 16 MB.
 */
export const DEFAULT_MAX_NONCES = 786_432;

const WORDS = NONCE_BYTES / 4;
const FIRST_SLOTS = 1_024;

/** Makes an empty cache. `seed` (two random words) keeps peers from choosing nonces that collide in the table. */
export function createNonceCache(options: {
  readonly clock: Clock;
  readonly seed: readonly [number, number];
  readonly maxPerGeneration?: number;
}): NonceCache {
  const { clock, seed } = options;
  const bound = options.maxPerGeneration ?? DEFAULT_MAX_NONCES;
  let previous = new Generation(bound, seed);
  let current = new Generation(bound, seed);
  const words = new Uint32Array(WORDS);
  const bytes = new Uint8Array(words.buffer);

  return {
    size: () => previous.count + current.count,
    claim(nonce, expiresAtMs) {
      if (clock.nowMs() > previous.latestExpiryMs && current.count > 0) {
        previous.clear();
        [previous, current] = [current, previous];
      }
      bytes.set(nonce);
      if (previous.has(words) || current.has(words)) return "replayed";
      return current.add(words, expiresAtMs) ? "fresh" : "full";
    },
  };
}

class Generation {
  readonly #bound: number;
  readonly #seed: readonly [number, number];
  /** Four words a slot; a slot of zeros is free. */
  #table = new Uint32Array(FIRST_SLOTS * WORDS);
  #slots = FIRST_SLOTS;
  count = 0;
  /** When the last of them is past its time. */
  latestExpiryMs = 0;

  constructor(bound: number, seed: readonly [number, number]) {
    this.#bound = bound;
    this.#seed = seed;
  }

  has(words: Uint32Array): boolean {
    if (isZero(words, 0)) return true; // sixteen zero bytes are no random nonce, and mark a free slot: always a replay
    return !isZero(this.#table, this.#find(words, 0));
  }

  /** False when the generation is full. The nonce must not be in it. */
  add(words: Uint32Array, expiresAtMs: number): boolean {
    if (this.count >= this.#bound) return false;
    if ((this.count + 1) * 4 > this.#slots * 3) this.#grow();
    this.#put(words, 0);
    this.count += 1;
    if (expiresAtMs > this.latestExpiryMs) this.latestExpiryMs = expiresAtMs;
    return true;
  }

  clear(): void {
    // A table that was large once is given back when traffic was low since.
    if (this.#slots > FIRST_SLOTS && this.count * 8 < this.#slots) {
      this.#slots = FIRST_SLOTS;
      this.#table = new Uint32Array(FIRST_SLOTS * WORDS);
    } else {
      this.#table.fill(0);
    }
    this.count = 0;
    this.latestExpiryMs = 0;
  }

  #put(words: Uint32Array, from: number): void {
    const at = this.#find(words, from);
    for (let word = 0; word < WORDS; word += 1) this.#table[at + word] = words[from + word] as number;
  }

  /** Where the nonce at `from` of `words` is, or the free slot where it belongs. The table is never full. */
  #find(words: Uint32Array, from: number): number {
    const table = this.#table;
    const mask = this.#slots - 1;
    const first = words[from];
    const second = words[from + 1];
    const third = words[from + 2];
    const fourth = words[from + 3];
    for (let slot = this.#hash(words, from) & mask; ; slot = (slot + 1) & mask) {
      const at = slot * WORDS;
      if (table[at] === first && table[at + 1] === second && table[at + 2] === third && table[at + 3] === fourth) return at;
      if (isZero(table, at)) return at;
    }
  }

  /** Seeded, so that nobody outside can aim at one slot. */
  #hash(words: Uint32Array, from: number): number {
    let hash = Math.imul((words[from] as number) ^ this.#seed[0], 0x9e3779b1);
    hash = Math.imul(hash ^ (hash >>> 15) ^ (words[from + 1] as number), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13) ^ (words[from + 2] as number), 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 16) ^ (words[from + 3] as number) ^ this.#seed[1], 0x27d4eb2f);
    return hash ^ (hash >>> 15);
  }

  /** Some 30 ms at the largest size; it happens once, as cleared tables keep their size while they are used. */
  #grow(): void {
    const old = this.#table;
    this.#slots *= 2;
    this.#table = new Uint32Array(this.#slots * WORDS);
    for (let at = 0; at < old.length; at += WORDS) if (!isZero(old, at)) this.#put(old, at);
  }
}

function isZero(words: Uint32Array, at: number): boolean {
  return words[at] === 0 && words[at + 1] === 0 && words[at + 2] === 0 && words[at + 3] === 0;
}
