// Puts a body that came in pieces together, large ones always in the same place: 1 MB of fresh memory for each would be zeroed by the kernel page by page, and
// what lies outside of its heap drives V8 to collect all of it.

/** Joins the chunks of one body. The bytes are good until the next body is joined: whoever needs them longer copies them. */
export type JoinChunks = (chunks: readonly Buffer[]) => Buffer;

/** Smaller ones come from a pool of Node or are cheap. */
const SMALL_BYTES = 64 * 1024;

/** Keeps one place of `maxBytes`, of which only what was ever written takes memory. Longer bodies are joined as well, elsewhere. */
export function createJoin(maxBytes: number): JoinChunks {
  let place: Buffer | null = null; // made for the first large body
  return (chunks) => {
    const [only] = chunks;
    if (chunks.length === 1 && only !== undefined) return only;
    const bytes = chunks.reduce((sum, { length }) => sum + length, 0);
    if (bytes <= SMALL_BYTES || bytes > maxBytes) return Buffer.concat(chunks, bytes);
    place ??= Buffer.allocUnsafeSlow(maxBytes);
    let at = 0;
    for (const chunk of chunks) at += chunk.copy(place, at);
    return place.subarray(0, bytes);
  };
}
