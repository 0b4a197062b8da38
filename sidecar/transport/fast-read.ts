// Reading a socket into one buffer that all sockets share, instead of 64 KiB allocated per read and pushed through Readable. Node offers this as `onread`
// for sockets that it connects itself; accepted sockets and TLS sockets on a carrier have the same fields below, but no option that sets them. They
// are found by their values on a socket made with `onread`, and where this Node has them no more, `data` events do the same work at a higher price.
//
// Measured on the two-hop path with 1 KiB answers (Node 26.10): CPU per request and hop 0.6 to 0.8 of what `data` events cost.
import { Socket } from "node:net";
import type { Duplex } from "node:stream";

/** Size of the shared buffer, bytes: what libuv reads at once. */
const READ_BYTES = 64 * 1024;

/** Takes bytes[0..length). `bytes` is overwritten by the next read of any socket: copy what outlives the call. */
export type OnBytes = (bytes: Buffer, length: number) => void;

interface FastHandle {
  useUserBuffer?(buffer: Uint8Array): void;
}

interface FastFields {
  readonly buffer: symbol;
  readonly callback: symbol;
}

// One for the process: JavaScript runs one read callback at a time, and nobody keeps the bytes.
const shared = Buffer.allocUnsafeSlow(READ_BYTES);
const fields = findFields();

/** The fields behind `onread`, found on a socket that was made with it; null in a Node that has changed them. */
function findFields(): FastFields | null {
  const probeBuffer = Buffer.alloc(1);
  const probeCallback = () => true;
  const probe = new Socket({ onread: { buffer: probeBuffer, callback: probeCallback } });
  const holding = (value: unknown) =>
    Object.getOwnPropertySymbols(probe).find((symbol) => (probe as unknown as Record<symbol, unknown>)[symbol] === value);
  const buffer = holding(probeBuffer);
  const callback = holding(probeCallback);
  probe.destroy();
  return buffer === undefined || callback === undefined ? null : { buffer, callback };
}

/**
 * Gives every byte of `stream` to `onBytes` from now on, those first that were put back or read ahead. The stream must be open and have no `data`
 * listener; it can't be read in another way afterwards. `pause`, `resume`, `end` and `close` work as ever. Starts paused.
 */
export function readInto(stream: Duplex, onBytes: OnBytes): void {
  stream.pause();
  for (let early = stream.read() as Buffer | null; early !== null; early = stream.read() as Buffer | null) onBytes(early, early.length);
  const handle = stream instanceof Socket ? ((stream as unknown as { _handle: FastHandle | null })._handle ?? null) : null;
  if (fields === null || handle === null || typeof handle.useUserBuffer !== "function") {
    stream.on("data", (chunk: Buffer) => onBytes(chunk, chunk.length));
    stream.pause();
    return;
  }
  const socket = stream as unknown as Record<symbol, unknown>;
  socket[fields.callback] = (length: number) => {
    onBytes(shared, length);
    return true;
  };
  socket[fields.buffer] = shared;
  handle.useUserBuffer(shared);
  // Once more: before the fields were set, a pause let the handle read on until `push` would have said stop.
  stream.pause();
}

/** Makes `stream` an ordinary one again, with `data` events and `read`, at the price of a copy per read. Paused. */
export function giveBack(stream: Duplex): void {
  stream.pause();
  stream.removeAllListeners("data");
  if (fields === null || !(stream instanceof Socket)) return;
  const socket = stream as unknown as Record<symbol, unknown>;
  if (socket[fields.buffer] !== shared) return;
  socket[fields.callback] = (length: number) => stream.push(Buffer.from(shared.subarray(0, length)));
}
