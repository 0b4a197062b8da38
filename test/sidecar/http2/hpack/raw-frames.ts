// Just enough of HTTP/2 framing (RFC 9113 section 4) to bring header blocks to a peer and to read its own: no streams, no flow control.

export const FRAME = { headers: 1, reset: 3, settings: 4, goAway: 7, continuation: 9 } as const;
export const FLAG = { ack: 1, endStream: 1, endHeaders: 4, padded: 8, priority: 0x20 } as const;

export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

const HEAD_BYTES = 9;
const MAX_PAYLOAD_BYTES = 16_384;
const HEADER_TABLE_SIZE = 1;

/** One frame. */
export interface RawFrame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

export function frameBytes(type: number, flags: number, streamId: number, payload: Buffer): Buffer {
  const bytes = Buffer.alloc(HEAD_BYTES + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(streamId, 5);
  payload.copy(bytes, HEAD_BYTES);
  return bytes;
}

/** A block as HEADERS and CONTINUATIONs, `count` frames of much the same size; more where that is more than a frame may carry. */
export function blockFrames(streamId: number, block: Buffer, flags: number, count = 1): Buffer {
  const size = Math.max(1, Math.min(MAX_PAYLOAD_BYTES, Math.ceil(block.length / count)));
  const frames: Buffer[] = [];
  let at = 0;
  do {
    const to = Math.min(block.length, at + size);
    const end = to === block.length ? FLAG.endHeaders : 0;
    frames.push(frameBytes(at === 0 ? FRAME.headers : FRAME.continuation, at === 0 ? flags | end : end, streamId, block.subarray(at, to)));
    at = to;
  } while (at < block.length);
  return Buffer.concat(frames);
}

/** SETTINGS with this SETTINGS_HEADER_TABLE_SIZE. */
export function tableSettings(tableBytes: number): Buffer {
  const payload = Buffer.alloc(6);
  payload.writeUInt16BE(HEADER_TABLE_SIZE, 0);
  payload.writeUInt32BE(tableBytes, 2);
  return frameBytes(FRAME.settings, 0, 0, payload);
}

export const SETTINGS_ACK = frameBytes(FRAME.settings, FLAG.ack, 0, Buffer.alloc(0));

/** SETTINGS_HEADER_TABLE_SIZE in a SETTINGS frame; -1 without one. */
export function tableSizeIn({ payload }: RawFrame): number {
  let found = -1;
  for (let at = 0; at + 6 <= payload.length; at += 6)
    if (payload.readUInt16BE(at) === HEADER_TABLE_SIZE) found = payload.readUInt32BE(at + 2);
  return found;
}

/** Calls `take` with every frame of a stream of chunks. */
export function createFrameReader(take: (frame: RawFrame) => void): (chunk: Buffer) => void {
  let held: Buffer = Buffer.alloc(0);
  return (chunk) => {
    const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    let at = 0;
    while (at + HEAD_BYTES <= bytes.length) {
      const end = at + HEAD_BYTES + bytes.readUIntBE(at, 3);
      if (end > bytes.length) break;
      take({
        type: bytes[at + 3] as number,
        flags: bytes[at + 4] as number,
        streamId: bytes.readUInt32BE(at + 5),
        payload: bytes.subarray(at + HEAD_BYTES, end),
      });
      at = end;
    }
    held = bytes.subarray(at);
  };
}

/** Calls `take` with every whole block; gives a function for the frames. */
export function createBlockJoiner(take: (streamId: number, block: Buffer) => void): (frame: RawFrame) => void {
  let parts: Buffer[] = [];
  return ({ type, flags, streamId, payload }) => {
    if (type !== FRAME.headers && type !== FRAME.continuation) return;
    parts.push(type === FRAME.headers ? fragment(flags, payload) : payload);
    if ((flags & FLAG.endHeaders) === 0) return;
    const block = Buffer.concat(parts);
    parts = [];
    take(streamId, block);
  };
}

function fragment(flags: number, payload: Buffer): Buffer {
  const padding = (flags & FLAG.padded) === 0 ? 0 : (payload[0] as number);
  const before = ((flags & FLAG.padded) === 0 ? 0 : 1) + ((flags & FLAG.priority) === 0 ? 0 : 5);
  return payload.subarray(before, payload.length - padding);
}
