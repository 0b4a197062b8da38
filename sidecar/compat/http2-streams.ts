// How one stream of node:http2 is carried over to another (compat engine): its content as fast as the other takes it, its trailers, and its end if that is in order.
import { type ClientHttp2Stream, constants, type ServerHttp2Stream } from "node:http2";
import type { Exchange } from "../exchange.ts";
import { headerObject } from "./flat-headers.ts";

const { NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR } = constants;

/** Trailers that node:http2 will not write (two of a field that must be single) reset the stream: half of them could mean something else. */
export function sendTrailers(stream: ServerHttp2Stream | ClientHttp2Stream, trailers: readonly string[]): void {
  try {
    stream.sendTrailers(headerObject(trailers));
  } catch {
    stream.close(NGHTTP2_INTERNAL_ERROR);
  }
}

/** True when nothing can be sent on the stream any more: it was reset, by either side, or is closed. Its exchange ends with its `close`. */
export function isGone(stream: ServerHttp2Stream): boolean {
  return stream.destroyed || stream.closed || stream.aborted;
}

/** True when there is nobody to answer any more, or the exchange was given up. */
export function isOver(stream: ServerHttp2Stream, exchange: Exchange): boolean {
  return isGone(stream) || exchange.refusal !== null;
}

/** Moves data from one stream to the other; only an ordered end is passed on here. */
export function carry(from: ServerHttp2Stream | ClientHttp2Stream, to: ServerHttp2Stream | ClientHttp2Stream): void {
  from.on("data", (chunk: Buffer) => {
    if (!to.destroyed && !to.write(chunk)) from.pause();
  });
  to.on("drain", () => from.resume());
  function onEnd(): void {
    // A reset stream ends as well; what was cut off must not look whole. Its code is passed on by `close`.
    if (!to.destroyed && from.rstCode === NGHTTP2_NO_ERROR && !from.aborted) to.end();
  }
  // One that was looked into and had nothing left ends while it waits for a connection, paused or not.
  if (from.readableEnded) onEnd();
  else from.once("end", onEnd);
  from.resume();
}
