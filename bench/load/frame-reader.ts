// Reads HTTP/2 frames (RFC 9113 section 4.1) off a stream of chunks, as far as a load generator needs it: DATA is counted as it comes, the payload
// of all other frames is collected, nothing is decompressed.

/** Frame types in use here. */
export const FRAME = { data: 0, headers: 1, resetStream: 3, settings: 4, ping: 6, goAway: 7, windowUpdate: 8 } as const;
/** Frame flags in use here; ACK is of SETTINGS and PING. */
export const FLAG = { ack: 1, endStream: 1, endHeaders: 4 } as const;
/** Bytes before a payload. */
export const FRAME_HEAD_BYTES = 9;
/** The protocol's default; a longer one is not allowed unless we allow it. */
const MAX_PAYLOAD_BYTES = 16_384;

/** What the reader tells of. */
export interface FrameEvents {
  /** Bytes of DATA, as they come. Padding counts: nobody pads here. */
  data(bytes: number): void;
  /** A whole frame; the payload of DATA is empty. It is only valid during the call. */
  frame(type: number, flags: number, streamId: number, payload: Buffer): void;
}

/** Makes a reader: it is called with each chunk. Throws on a frame that is longer than allowed, after which it must not be called again. */
export function createFrameReader({ data, frame }: FrameEvents): (chunk: Buffer) => void {
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  const payload = Buffer.alloc(MAX_PAYLOAD_BYTES);
  let headBytes = 0; // of `head` that are there
  let length = 0; // of the payload; known when the head is whole
  let payloadBytes = 0; // of it that have come
  return (chunk) => {
    let at = 0;
    while (at < chunk.length) {
      if (headBytes < FRAME_HEAD_BYTES) {
        const taken = chunk.copy(head, headBytes, at, at + FRAME_HEAD_BYTES - headBytes);
        headBytes += taken;
        at += taken;
        if (headBytes < FRAME_HEAD_BYTES) return;
        length = head.readUIntBE(0, 3);
        payloadBytes = 0;
        if (length > MAX_PAYLOAD_BYTES) throw new Error(`a frame of ${length} bytes, ${MAX_PAYLOAD_BYTES} are allowed`);
      }
      const isData = head[3] === FRAME.data;
      const taken = Math.min(length - payloadBytes, chunk.length - at);
      if (isData) data(taken);
      else chunk.copy(payload, payloadBytes, at, at + taken);
      at += taken;
      payloadBytes += taken;
      if (payloadBytes < length) return;
      headBytes = 0;
      frame(head[3] ?? 0, head[4] ?? 0, head.readUInt32BE(5), payload.subarray(0, isData ? 0 : length));
    }
  };
}
