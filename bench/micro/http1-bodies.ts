// Twin of sidecar/http1/body-reader.ts, chunked.ts and scan.ts: following bodies.
import { BodyReader } from "../../sidecar/http1/body-reader.ts";
import { BODY } from "../../sidecar/http1/framing.ts";
import type { Cases } from "./measure.ts";

const LARGE_BYTES = 64 * 1024;

function chunks(count: number, bytes: number, extension: string, trailers: string): Buffer {
  const chunk = `${bytes.toString(16)}${extension}\r\n${"x".repeat(bytes)}\r\n`;
  return Buffer.from(`${chunk.repeat(count)}0\r\n${trailers}\r\n`, "latin1");
}

/** Follows one body to its end, as it comes or in pieces. */
function following(body: Buffer, pieceBytes = body.length): () => boolean {
  const reader = new BodyReader();
  return () => {
    reader.begin(BODY.chunked, -1);
    for (let at = 0; at < body.length; at += pieceBytes) reader.advance(body, at, Math.min(body.length, at + pieceBytes), null);
    if (!reader.isDone) throw new Error("a whole body was not taken for one");
    return reader.isDone;
  };
}

function counting(): () => boolean {
  const body = Buffer.alloc(LARGE_BYTES);
  const reader = new BodyReader();
  return () => {
    reader.begin(BODY.length, LARGE_BYTES);
    reader.advance(body, 0, LARGE_BYTES, null);
    return reader.isDone;
  };
}

/** By length; chunks of all sizes, with extensions, with trailers, cut into pieces; and their content taken out. */
export function cases(): Cases {
  const small = chunks(16, 64, "", "");
  const reader = new BodyReader();
  let contentBytes = 0;
  const count = (_bytes: Buffer, start: number, end: number) => {
    contentBytes += end - start;
  };
  return {
    "64 KiB by length": counting(),
    "no chunk but the last": following(chunks(0, 0, "", "")),
    "one chunk of 1 KiB": following(chunks(1, 1024, "", "")),
    "one chunk of 64 KiB": following(chunks(1, LARGE_BYTES, "", "")),
    "16 chunks of 64 bytes": following(small),
    "the same with extensions": following(chunks(16, 64, ';name="a value"', "")),
    "the same with trailers": following(chunks(16, 64, "", "x-sum: 1\r\nx-took: 3ms\r\n")),
    "the same in pieces of 7 bytes": following(small, 7),
    "the same, content taken out": () => {
      reader.begin(BODY.chunked, -1);
      reader.advance(small, 0, small.length, count);
      return contentBytes;
    },
  };
}
