// Frames as a test writes them, byte by byte (RFC 9113 section 6): whatever a well-behaved library would not send.
import { FLAG, FRAME, PREFACE } from "../../../sidecar/http2/frames.ts";

export { FLAG, FRAME, PREFACE };

/** A field of a header section. */
export type Field = readonly [name: string, value: string];

const NO_BYTES = Buffer.alloc(0);

/** One frame. */
export function frame(type: number, flags: number, id: number, payload: Buffer = NO_BYTES): Buffer {
  const bytes = Buffer.alloc(9 + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(id, 5);
  payload.copy(bytes, 9);
  return bytes;
}

/** A number as payload, 32 bits. */
export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** SETTINGS. */
export function settings(...values: readonly (readonly [number, number])[]): Buffer {
  return frame(FRAME.settings, 0, 0, Buffer.concat(values.map(([key, value]) => Buffer.concat([Buffer.from([0, key]), uint32(value)]))));
}

/** What a client begins with. */
export const CLIENT_PREFACE = Buffer.concat([PREFACE, settings()]);

/** A header block of literals that enter no table (RFC 7541 section 6.2.2), or of literals that do. */
export function block(fields: readonly Field[], indexed = false): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([indexed ? 0x40 : 0]), string(name), string(value)]));
}

function string(text: string): Buffer {
  const octets = Buffer.from(text, "latin1");
  return Buffer.concat([integer(octets.length), octets]);
}

/** RFC 7541 section 5.1, seven bits. */
function integer(value: number): Buffer {
  if (value < 0x7f) return Buffer.from([value]);
  const octets = [0x7f];
  let rest = value - 0x7f;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) octets.push((rest % 0x80) | 0x80);
  return Buffer.from([...octets, rest]);
}

/** HEADERS in one frame, whole. */
export function headers(id: number, fields: readonly Field[], isEnd = true): Buffer {
  return frame(FRAME.headers, FLAG.endHeaders | (isEnd ? FLAG.endStream : 0), id, block(fields));
}

/** The pseudo-header fields of a request. */
export function request(method = "GET", path = "/"): Field[] {
  return [
    [":method", method],
    [":scheme", "http"],
    [":authority", "orders"],
    [":path", path],
  ];
}

/** DATA. */
export function data(id: number, content: string | Buffer, isEnd = false): Buffer {
  return frame(FRAME.data, isEnd ? FLAG.endStream : 0, id, Buffer.from(content as string));
}

/** RST_STREAM. */
export function reset(id: number, code: number): Buffer {
  return frame(FRAME.reset, 0, id, uint32(code));
}

/** WINDOW_UPDATE. */
export function windowUpdate(id: number, increment: number): Buffer {
  return frame(FRAME.windowUpdate, 0, id, uint32(increment));
}

/** GOAWAY. */
export function goaway(lastId: number, code: number): Buffer {
  return frame(FRAME.goaway, 0, 0, Buffer.concat([uint32(lastId), uint32(code)]));
}

/** A frame as it came. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Buffer;
}

/** Cuts bytes into frames; what is not whole is the rest. */
export function framesIn(bytes: Buffer): { readonly frames: Frame[]; readonly rest: Buffer } {
  const frames: Frame[] = [];
  let at = 0;
  while (at + 9 <= bytes.length) {
    const end = at + 9 + bytes.readUIntBE(at, 3);
    if (end > bytes.length) break;
    frames.push({
      type: bytes[at + 3] as number,
      flags: bytes[at + 4] as number,
      id: bytes.readUInt32BE(at + 5),
      payload: bytes.subarray(at + 9, end),
    });
    at = end;
  }
  return { frames, rest: bytes.subarray(at) };
}
