// Whole numbers of HPACK (RFC 7541 section 5.1): what does not fit into the low bits of an octet goes on in seven bits each, lowest first.
//
// HOT PATH: a number and the octets it took travel as one small integer, so that reading one allocates nothing and leaves nothing behind.

/** First number that is refused: no index, length or table size comes near it. */
export const INTEGER_END = 2 ** 28;

/** Most octets of a number that is written: the prefix and four of seven bits. */
export const MAX_INTEGER_OCTETS = 5;

/** Last shift of a continuation octet, so that there are at most five of them; the fifth can only be an empty one. */
const LAST_SHIFT = 28;

/**
 * Reads the number that begins in the bits `mask` of bytes[at], which is before `end`. Take the result apart with {@link integerIn} and {@link octetsOf};
 * -1 for one that does not end before `end`, is not below {@link INTEGER_END} or has more than five continuation octets.
 */
export function readInteger(bytes: Uint8Array, at: number, end: number, mask: number): number {
  let value = (bytes[at] as number) & mask;
  if (value < mask) return (value << 3) | 1;
  let next = at + 1;
  for (let shift = 0; shift <= LAST_SHIFT && next < end; shift += 7) {
    const octet = bytes[next] as number;
    next += 1;
    if (shift < LAST_SHIFT) value += (octet & 0x7f) << shift;
    else if ((octet & 0x7f) !== 0) return -1;
    if (octet < 0x80) return value < INTEGER_END ? (value << 3) | (next - at) : -1;
  }
  return -1;
}

/** The number in a result of {@link readInteger}. */
export function integerIn(read: number): number {
  return read >>> 3;
}

/** How many octets it took, 1 to 6. */
export function octetsOf(read: number): number {
  return read & 7;
}

/** Writes `value`, which is below {@link INTEGER_END}, behind the bits `pattern` above `mask`. Returns the index behind it. */
export function putInteger(bytes: Uint8Array, at: number, pattern: number, mask: number, value: number): number {
  if (value < mask) {
    bytes[at] = pattern | value;
    return at + 1;
  }
  bytes[at] = pattern | mask;
  let next = at + 1;
  let rest = value - mask;
  while (rest >= 0x80) {
    bytes[next] = (rest & 0x7f) | 0x80;
    next += 1;
    rest >>>= 7;
  }
  bytes[next] = rest;
  return next + 1;
}
