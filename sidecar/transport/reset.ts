// Ends a stream so that its peer notices: with a TCP reset, so that a cut-off answer is never taken for a whole one. Node's TLSSocket cannot
// reset by itself (it would end with a FIN, which most TLS clients take for the end of the data), so the socket below it is remembered.
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";

const carriers = new WeakMap<Duplex, Socket>();

/** Remembers that `socket` carries `tls`, for {@link resetStream}. */
export function rememberCarrier(tls: TLSSocket, socket: Socket): void {
  carriers.set(tls, socket);
}

/**
 * Destroys `stream` with a TCP reset. Errors that follow are swallowed. Idempotent. A stream that was told to end and still has bytes to write is closed
 * without one: libuv refuses to reset while a shutdown is pending, and Node then never closes the handle (seen with Node 26.10).
 */
export function resetStream(stream: Duplex): void {
  if (stream.destroyed) return;
  stream.on("error", () => {});
  const carrier = carriers.get(stream);
  if (carrier === undefined) {
    if (stream instanceof Socket && !isShuttingDown(stream)) stream.resetAndDestroy();
    else stream.destroy();
    return;
  }
  carrier.on("error", () => {});
  // The TLS socket closes first and its carrier below it, as Node orders it; resetting the carrier by hand while TLS still holds it crashes the
  // process (seen with Node 26.10: SIGSEGV).
  const destroy = carrier.destroy;
  carrier.destroy = () => {
    carrier.destroy = destroy;
    return isShuttingDown(stream) || isShuttingDown(carrier) ? carrier.destroy() : carrier.resetAndDestroy();
  };
  stream.destroy();
}

function isShuttingDown(stream: Duplex): boolean {
  return stream.writableEnded && !stream.writableFinished;
}
