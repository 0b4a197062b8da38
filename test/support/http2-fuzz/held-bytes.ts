// Counts what all HTTP/2 connections of this process hold for slow readers: nothing, once nobody is there any more. They count it each for itself and tell nobody.
import { Http2Connection } from "../../../sidecar/http2/connection.ts";

let held = 0;
const { hold, release } = Http2Connection.prototype;

Http2Connection.prototype.hold = function (bytes: number): void {
  held += bytes;
  hold.call(this, bytes);
};

Http2Connection.prototype.release = function (bytes: number): void {
  held -= bytes;
  release.call(this, bytes);
};

/** Bytes held now. */
export function heldBytes(): number {
  return held;
}

/** As {@link heldBytes}; forgets them, so that they are told of once. */
export function takeHeldBytes(): number {
  const found = held;
  held = 0;
  return found;
}
