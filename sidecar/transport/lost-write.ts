// A workaround for Node's TLS (26.10, `TLSWrap::EncOut`): when writing the last bytes of a handshake, a Finished or session tickets, fails because the peer
// has reset, Node drops the error and waits for that write for ever. The socket then looks half-closed, takes writes, and is through with none of them:
// nothing ever closes it. To be dropped with the first Node that destroys such a socket.
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { resetStream } from "./reset.ts";

interface Queue {
  /** Bytes that wait to be written: encrypted ones of a TLS handle, those that the kernel did not take of a TCP handle. */
  readonly writeQueueSize: number;
}

/**
 * Resets `tls`, whose handshake was completed in this turn of the event loop, when its last bytes were lost. `carrier` is the socket below it. One that was
 * written to in this turn needs no help: what is written leaves together with the handshake's last bytes, and gets their error.
 */
export function resetWhenHandshakeIsLost(tls: TLSSocket, carrier: Socket): void {
  // What the kernel took, Node has let go of by then; what it did not take waits in the carrier. What is in neither place is never written.
  setImmediate(() => {
    if (!tls.destroyed && tls.bytesWritten === 0 && queueOf(tls) > 0 && queueOf(carrier) === 0) resetStream(tls);
  });
}

function queueOf(socket: Socket): number {
  return (socket as unknown as { readonly _handle: Queue | null })._handle?.writeQueueSize ?? 0;
}
