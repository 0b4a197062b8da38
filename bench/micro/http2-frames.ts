// Twin of sidecar/http2/frame-reader.ts, frame-writer.ts and outbox.ts: cutting bytes into frames, and putting frames together, without the write itself.
import { FrameReader } from "../../sidecar/http2/frame-reader.ts";
import { FrameWriter } from "../../sidecar/http2/frame-writer.ts";
import { FLAG, FRAME, FRAME_HEADER_BYTES, putFrameHeader } from "../../sidecar/http2/frames.ts";
import { Outbox } from "../../sidecar/http2/outbox.ts";
import type { SocketWire } from "../../sidecar/transport/wire.ts";
import type { Cases } from "./measure.ts";

const NO_STREAMS = { size: 0 };

/** Takes all that is written, at once. */
const WIRE = {
  takesAtOnce: true,
  isDirect: true,
  isWritable: true,
  pendingBytes: 0,
  write(_bytes: Buffer, done?: () => void) {
    done?.();
  },
} as unknown as SocketWire; // all that an outbox looks at

/** `count` frames in a row. */
function frames(count: number, type: number, flags: number, payload: number): Buffer {
  const bytes = Buffer.alloc(count * (FRAME_HEADER_BYTES + payload));
  for (let index = 0, at = 0; index < count; index += 1) at = putFrameHeader(bytes, at, payload, type, flags, 2 * index + 1) + payload;
  return bytes;
}

/** Reads all of `bytes`, as they come or in pieces, into nothing. */
function reading(bytes: Buffer, pieceBytes = bytes.length): () => number {
  let seen = 0;
  const reader = new FrameReader({
    isOver: false,
    onFrame: () => (seen += 1),
    onDataFrame: () => (seen += 1),
    onPadding: () => {},
    onData: () => {},
    onFrameFlaw: (_code, detail) => {
      throw new Error(detail);
    },
  });
  return () => {
    for (let at = 0; at < bytes.length; at += pieceBytes) reader.read(bytes, at, Math.min(bytes.length, at + pieceBytes));
    return seen;
  };
}

/** Frames of all sizes read, cut in their heads too; and written. */
export function cases(): Cases {
  const outbox = new Outbox(WIRE, NO_STREAMS, () => {});
  const writer = new FrameWriter(outbox);
  const body = Buffer.alloc(64 * 1024, "x");
  const unary = frames(32, FRAME.data, FLAG.endStream, 105);
  return {
    "read 32 DATA of 105 bytes": reading(unary),
    "the same in pieces of 100 bytes": reading(unary, 100),
    "read 32 HEADERS of 60 bytes": reading(frames(32, FRAME.headers, FLAG.endHeaders, 60)),
    "read 4 DATA of 16 KiB": reading(frames(4, FRAME.data, 0, 16_384)),
    "read 32 WINDOW_UPDATE": reading(frames(32, FRAME.windowUpdate, 0, 4)),
    "write 32 DATA of 1 KiB": () => {
      for (let id = 1; id < 64; id += 2) writer.data(id, body, 0, 1024, true);
      outbox.flush();
    },
    "write 64 KiB of DATA": () => {
      writer.data(1, body, 0, body.length, true);
      outbox.flush();
    },
    "write 32 RST_STREAM": () => {
      for (let id = 1; id < 64; id += 2) writer.reset(id, 8);
      outbox.flush();
    },
  };
}
