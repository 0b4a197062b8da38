// Request bodies that were sent already and may have to be sent again (RFC 9113 section 8.7). One ring for the process: keeping a body is one copy, forgetting it
// costs nothing, and what is overwritten before it was needed can't be sent again. So what retries may cost in memory is bounded whatever happens.

/** Size of the ring, bytes: a thousand calls of a kilobyte. */
const RING_BYTES = 1024 * 1024;
/** A larger piece is not kept. */
export const MAX_KEPT_BYTES = 64 * 1024;

/** Not allocated before the first body. */
let ring: Buffer | null = null;
/** Where the next one goes, counted from the process's first. */
let written = 0;

/** A place in the ring: where it begins, counted from the first byte ever. */
export type Kept = number;

/** Nothing is kept. */
export const NOT_KEPT: Kept = -1;

/** Keeps bytes[start..end); {@link NOT_KEPT} for more than {@link MAX_KEPT_BYTES}. */
export function keepBody(bytes: Buffer, start: number, end: number): Kept {
  const length = end - start;
  if (length > MAX_KEPT_BYTES) return NOT_KEPT;
  ring ??= Buffer.allocUnsafeSlow(RING_BYTES);
  const at = written % RING_BYTES;
  if (at + length > RING_BYTES) written += RING_BYTES - at; // in one piece
  const place = written;
  bytes.copy(ring, place % RING_BYTES, start, end);
  written += length;
  return place;
}

/** The kept bytes, or null when others have taken their place. Valid until the next body is kept. */
export function keptBody(place: Kept, length: number): Buffer | null {
  if (place === NOT_KEPT || ring === null || written - place > RING_BYTES) return null;
  const at = place % RING_BYTES;
  return ring.subarray(at, at + length);
}
