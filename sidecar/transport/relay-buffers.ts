// The buffers in which a relay puts bytes together that are not through yet. Few of them serve many connections: one is held only from a read to the
// write that takes its bytes, so that a connection that does nothing holds none. All are of one size, so that none has to be looked for.

/** Size of a buffer, bytes: eight full TLS records, after which bigger writes brought nothing measurable. */
export const RELAY_BUFFER_BYTES = 128 * 1024;
/** Buffers kept for later, at most: 2 MiB. What comes back beyond that is left to the garbage collector. */
const MAX_KEPT = 16;

const kept: Buffer[] = [];

/** A buffer of {@link RELAY_BUFFER_BYTES}; its content is left over from others and has to be overwritten before it is sent. */
export function takeBuffer(): Buffer {
  return kept.pop() ?? Buffer.allocUnsafeSlow(RELAY_BUFFER_BYTES);
}

/** Gives a buffer back to whom nobody else refers any more, neither this process's streams nor a write that the kernel has not taken. */
export function returnBuffer(buffer: Buffer): void {
  if (kept.length < MAX_KEPT && buffer.length === RELAY_BUFFER_BYTES) kept.push(buffer);
}
