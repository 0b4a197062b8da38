// Twin of sidecar/transport/outgoing.ts: putting a message together, without the write itself.
import { flush, putBytes, putText } from "../../sidecar/transport/outgoing.ts";
import { CURL, swallowingWire } from "./heads.ts";
import type { Cases } from "./measure.ts";

/** A head alone, with a small and a full body, several answers at once, one message to each of two peers in turns. */
export function cases(): Cases {
  const [wire, other] = [swallowingWire(), swallowingWire()];
  const body = Buffer.alloc(64 * 1024, "x");
  const line = "HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n";
  return {
    "nothing to flush": () => flush(),
    "a text of 43 characters": () => {
      putText(wire, line);
      flush();
    },
    "84 bytes of a head": () => {
      putBytes(wire, CURL, 0, CURL.length);
      flush();
    },
    "a text and 1 KiB": () => {
      putText(wire, line);
      putBytes(wire, body, 0, 1024);
      flush();
    },
    "a text and 64 KiB": () => {
      putText(wire, line);
      putBytes(wire, body, 0, body.length);
      flush();
    },
    "8 pipelined answers of 1 KiB": () => {
      for (let count = 0; count < 8; count += 1) {
        putText(wire, line);
        putBytes(wire, body, 0, 1024);
      }
      flush();
    },
    "two peers in turns": () => {
      putText(wire, line);
      putText(other, line);
      flush();
    },
  };
}
