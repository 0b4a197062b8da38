// What the gRPC scenarios send and what the origin answers, as messages on the wire: a flag byte, four bytes of length, then the message (the gRPC
// over HTTP/2 protocol, "Length-Prefixed-Message").

const PREFIX_BYTES = 5;
const REQUEST_BYTES = 100;
const ANSWER_BYTES = 1_024;
const STREAMED_BYTES = 123;

/** A call's message: 100 bytes and the prefix. */
export const REQUEST_MESSAGE = framed(Buffer.alloc(REQUEST_BYTES, "b"));
/** Of `/unary`. All of its bytes are ASCII, so that it can stand in nginx's configuration. */
export const UNARY_ANSWER = framed(Buffer.alloc(ANSWER_BYTES, "x"));
/** Of `/stream`, {@link STREAMED_MESSAGES} times. */
export const STREAMED_MESSAGE = framed(Buffer.alloc(STREAMED_BYTES, "s"));
/** Messages in one answer of `/stream`, each a DATA frame. */
export const STREAMED_MESSAGES = 1_000;
/** Of `/64m`, prefix included. */
export const BIG_ANSWER_BYTES = 67_108_864;
/** The beginning of `/64m`; zeros follow. */
export const BIG_ANSWER_PREFIX = prefixOf(BIG_ANSWER_BYTES - PREFIX_BYTES);

function framed(message: Buffer): Buffer {
  return Buffer.concat([prefixOf(message.length), message]);
}

function prefixOf(bytes: number): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(bytes, 1);
  return prefix;
}
