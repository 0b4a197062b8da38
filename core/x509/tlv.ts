// DER put together from parts that are DER already (X.690 section 8.1.3): a tag, a length, the parts. For what is written thousands of times a second and differs in a
// few places; everything that has to be understood goes through der.ts.

/** Tags that are put around parts. */
export const TAG = { integer: 0x02, bitString: 0x03, octetString: 0x04, oid: 0x06, sequence: 0x30, set: 0x31 } as const;

const LONG_FORM = 0x80;

/** One value: `tag`, the length of `parts`, `parts`. At most 65 535 octets of content. */
export function tlv(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  let length = 0;
  for (const part of parts) length += part.length;
  const lengthBytes = length < LONG_FORM ? 1 : length < 0x100 ? 2 : 3;
  const bytes = Buffer.allocUnsafe(1 + lengthBytes + length);
  bytes[0] = tag;
  if (lengthBytes === 1) bytes[1] = length;
  else bytes[1] = LONG_FORM + lengthBytes - 1;
  if (lengthBytes === 2) bytes[2] = length;
  else if (lengthBytes === 3) bytes.writeUInt16BE(length, 2);
  let at = 1 + lengthBytes;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
