// The one buffer in which messages are put together before they are written: a head and the first bytes of its body leave in one write, and nothing is
// allocated for it. One for the process: JavaScript composes one message at a time.
//
// HOT PATH: per message one text written, one copy of body bytes, one write.
import type { Wire } from "./wire.ts";

/** Size of the buffer, bytes: one full read and a head. */
const OUTGOING_BYTES = 80 * 1024;

/** Longest view that is kept; all of them together take at most half a megabyte. */
const MAX_KEPT_VIEW_BYTES = 4 * 1024;

let buffer = Buffer.allocUnsafeSlow(OUTGOING_BYTES);
let length = 0;
/** Views of the buffer from its start, by their length: making one costs more than copying the usual head. */
let views = emptyViews();
/** Where the bytes in the buffer go; null exactly while it is empty. */
let target: Wire | null = null;

/** Adds a text of Latin-1 characters, e.g. a message head, to what leaves for `wire`. */
export function putText(wire: Wire, text: string): void {
  aimAt(wire);
  if (text.length > OUTGOING_BYTES - length) {
    flush();
    if (text.length > OUTGOING_BYTES) {
      if (wire.isWritable) wire.write(Buffer.from(text, "latin1"));
      return;
    }
    aimAt(wire);
  }
  length += buffer.write(text, length, "latin1");
}

/** From here on a copy costs more than a write of its own. */
const LARGE_BYTES = 16 * 1024;

/** Adds bytes[start..end) to what leaves for `wire`. */
export function putBytes(wire: Wire, bytes: Buffer, start: number, end: number): void {
  if (end - start >= LARGE_BYTES) return writeLarge(wire, bytes, start, end);
  let from = start;
  while (from < end) {
    aimAt(wire);
    const to = Math.min(end, from + OUTGOING_BYTES - length);
    length += bytes.copy(buffer, length, from, to);
    from = to;
    if (length === OUTGOING_BYTES) flush();
  }
}

/** Where nothing is kept the bytes can be given as they are. */
function writeLarge(wire: Wire, bytes: Buffer, start: number, end: number): void {
  flush();
  if (!wire.isWritable) return;
  const span = bytes.subarray(start, end);
  wire.write(wire.takesAtOnce ? span : Buffer.from(span));
}

/** What was put together for another wire leaves first. */
function aimAt(wire: Wire): void {
  if (target === wire) return;
  flush();
  target = wire;
}

/** Writes what was put together. Whoever put bytes calls it before the event is over; `Wire.isBlocked` tells whether to go on. */
export function flush(): void {
  if (target === null) return;
  const wire = target;
  const bytes = length;
  target = null;
  length = 0;
  if (bytes === 0 || !wire.isWritable) return; // its `close` is on the way
  if (wire.takesAtOnce) return wire.write(viewOf(bytes));
  // Behind an earlier write the stream keeps a reference, and the buffer is about to be used again.
  if (!wire.isDirect) return wire.write(Buffer.from(buffer.subarray(0, bytes)));
  wire.write(viewOf(bytes));
  // The kernel may have taken less than all: then libuv goes on reading from this buffer, and we take another.
  if (!wire.isDirect) {
    buffer = Buffer.allocUnsafeSlow(OUTGOING_BYTES);
    views = emptyViews();
  }
}

/** As long as it will get: a list that grows by leaps would become a hash table. */
function emptyViews(): (Buffer | undefined)[] {
  return new Array(MAX_KEPT_VIEW_BYTES + 1);
}

function viewOf(bytes: number): Buffer {
  if (bytes > MAX_KEPT_VIEW_BYTES) return buffer.subarray(0, bytes);
  const view = views[bytes];
  if (view !== undefined) return view;
  const made = buffer.subarray(0, bytes);
  views[bytes] = made;
  return made;
}
