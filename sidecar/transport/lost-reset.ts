// A workaround for Node's TLS (26.10, `TLSWrap::DoShutdown`): when writing `close_notify` fails because the peer has reset, Node drops the error. The kernel told it
// once, so that the next read finds an end instead: a connection that was broken off looks like one that has ended in order, and what was cut off like a whole.
// To be dropped with the first Node that destroys such a socket.
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";

interface Named {
  /** Gives 0, or an error: a connection that is gone has no peer. Not `remoteAddress`, which remembers. */
  getpeername?(out: object): number;
}

/**
 * True when the end that was just read from `stream` was none: to be asked in its `end` event. Only while its own end is on the way: before, there is no error to
 * lose, and later a connection that has ended in order both ways has no peer either.
 */
export function isEndLostReset(stream: Duplex): boolean {
  if (!(stream instanceof TLSSocket) || !stream.writableEnded || stream.writableFinished) return false;
  const handle = (stream as unknown as { readonly _handle: Named | null })._handle;
  return typeof handle?.getpeername === "function" && handle.getpeername({}) !== 0;
}
