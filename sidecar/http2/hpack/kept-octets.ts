// How a store that holds a few things by the octets they came as finds a place, and compares.
//
// HOT PATH: one pass over the octets each.

/** Places of a store: a power of two. Something that falls on a taken place takes it over, so that no store ever grows. */
export const PLACES = 256;

/** In places that are free. */
export const NO_OCTETS = new Uint8Array(0);

/** A number for bytes[start..end); its low bits are a place. */
export function hashOf(bytes: Uint8Array, start: number, end: number, isHuffman: boolean): number {
  let hash = isHuffman ? 1 : 0;
  for (let at = start; at < end; at += 1) hash = (Math.imul(hash, 31) + (bytes[at] as number)) | 0;
  return hash ^ (hash >>> 8);
}

/** True when bytes[start..start + length) are those that are kept. */
export function areKept(kept: Uint8Array, bytes: Uint8Array, start: number, length: number): boolean {
  if (kept.length !== length) return false;
  for (let at = 0; at < length; at += 1) if (kept[at] !== bytes[start + at]) return false;
  return true;
}

/** A copy, which holds nothing of the buffer it is from. */
export function copyOf(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return Uint8Array.prototype.slice.call(bytes, start, end);
}
