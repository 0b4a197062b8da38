// The frame layer of HTTP/2 (RFC 9113 sections 4, 6 and 7): types, flags, error codes, and how the small frames are written. Who sends which when is the
// connection's business.

/** Octets in front of each payload (section 4.1). */
export const FRAME_HEADER_BYTES = 9;
/** Largest payload that everybody takes, and the largest that is sent or taken here (section 4.2). */
export const MAX_FRAME_BYTES = 16_384;
/** Flow-control window before anybody says otherwise (section 6.9.2). */
export const DEFAULT_WINDOW_BYTES = 65_535;
/** Largest window (section 6.9.1), stream id and error code. */
export const MAX_31_BIT = 0x7fffffff;

/** Octets of a PING, of one setting, of a priority (sections 6.7, 6.5.1, 6.3). */
export const PING_BYTES = 8;
export const SETTING_BYTES = 6;
export const PRIORITY_BYTES = 5;

/** Frame types (section 6). Others are ignored. */
export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

/** Flags; what a bit means depends on the type. */
export const FLAG = { endStream: 0x1, ack: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;

/** Settings (section 6.5.2, RFC 8441 section 3). */
export const SETTING = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
  enableConnectProtocol: 8,
} as const;

/** Error codes (section 7). */
export const H2_ERROR = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  connectError: 10,
  enhanceYourCalm: 11,
  inadequateSecurity: 12,
  http11Required: 13,
} as const;

/** What a client sends first (section 3.4). */
export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** Writes a frame header at bytes[at..at+9). */
export function putFrameHeader(bytes: Buffer, at: number, length: number, type: number, flags: number, streamId: number): number {
  bytes[at] = length >>> 16;
  bytes[at + 1] = length >>> 8;
  bytes[at + 2] = length;
  bytes[at + 3] = type;
  bytes[at + 4] = flags;
  return put32(bytes, at + 5, streamId);
}

/** Writes 32 bits, big-endian. */
export function put32(bytes: Buffer, at: number, value: number): number {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
  return at + 4;
}

/** Reads 31 bits: ids and increments come with a reserved bit in front, which is ignored. */
export function read31(bytes: Buffer, at: number): number {
  return (
    (((bytes[at] as number) & 0x7f) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  );
}

/** Reads 32 bits without sign. */
export function read32(bytes: Buffer, at: number): number {
  return (
    ((bytes[at] as number) * 0x1000000 +
      (((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number))) >>>
    0
  );
}
