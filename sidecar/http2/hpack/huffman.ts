// Strings in the Huffman code of HPACK (RFC 7541 section 5.2), to and from octets.
//
// HOT PATH: an octet of text is one look-up by the next eight bits; only the codes of rare octets are longer. Nothing is allocated.
import { CODE_BASES, CODE_BITS, CODES, EOS, LONGEST_BITS, SYMBOLS, WINDOW_ENDS } from "./huffman-code.ts";

/** What a string of `octets` has become at most once it is decoded: no code is shorter than five bits. */
export function mostDecoded(octets: number): number {
  return Math.ceil((octets * 8) / 5);
}

/** Bits that are looked up at once. */
const GLANCE_BITS = 8;

/** By the next eight bits: the octet and, above it, how many bits it takes; 0 where a longer code begins. */
const GLANCES = glances();

function glances(): Uint16Array {
  const table = new Uint16Array(2 ** GLANCE_BITS);
  for (let octet = 0; octet < EOS; octet += 1) {
    const bits = CODE_BITS[octet] as number;
    if (bits > GLANCE_BITS) continue;
    const first = (CODES[octet] as number) << (GLANCE_BITS - bits);
    table.fill((bits << 8) | octet, first, first + 2 ** (GLANCE_BITS - bits));
  }
  return table;
}

/**
 * Decodes bytes[start..end) into `text`, which has room for {@link mostDecoded} octets. Returns how many there are, or -1 for a string with EOS in it, or
 * with padding that is longer than seven bits or not all ones.
 */
export function decodeHuffman(bytes: Uint8Array, start: number, end: number, text: Uint8Array): number {
  let at = start;
  let put = 0;
  /** The bits that were read and not used are the low ones of `held`. */
  let held = 0;
  let bits = 0;
  for (;;) {
    while (bits <= 24 && at < end) {
      held = (held << 8) | (bytes[at] as number);
      at += 1;
      bits += 8;
    }
    while (bits >= GLANCE_BITS) {
      const glance = GLANCES[(held >>> (bits - GLANCE_BITS)) & 0xff] as number;
      if (glance === 0) break;
      text[put] = glance;
      put += 1;
      bits -= glance >>> 8;
    }
    if (bits < GLANCE_BITS) {
      if (at < end) continue;
      return decodeLast(held, bits, text, put);
    }
    if (bits <= 24 && at < end) continue;
    const window = ((held << (32 - bits)) | (at < end ? (bytes[at] as number) >>> (bits - 24) : 0)) >>> 0;
    const taken = longCodeBits(window);
    const symbol = SYMBOLS[(window >>> (32 - taken)) - (CODE_BASES[taken] as number)] as number;
    if (symbol === EOS) return -1;
    if (taken > bits) {
      if (at === end) return -1;
      held = (held << 8) | (bytes[at] as number);
      at += 1;
      bits += 8;
      if (taken > bits) return -1;
    }
    bits -= taken;
    text[put] = symbol;
    put += 1;
  }
}

/** The last bits, fewer than eight: at most one octet, then ones. */
function decodeLast(held: number, bits: number, text: Uint8Array, put: number): number {
  let octets = put;
  let rest = bits;
  const glance = GLANCES[((held << (GLANCE_BITS - rest)) | (0xff >>> rest)) & 0xff] as number;
  if (glance !== 0 && glance >>> 8 <= rest) {
    text[octets] = glance;
    octets += 1;
    rest -= glance >>> 8;
  }
  const ones = (1 << rest) - 1;
  return (held & ones) === ones ? octets : -1;
}

/** Bits of the code, longer than eight, that begins the 32 bits of `window`. */
function longCodeBits(window: number): number {
  let bits = GLANCE_BITS + 1;
  while (bits < LONGEST_BITS && window >= (WINDOW_ENDS[bits] as number)) bits += 1;
  return bits;
}

/** Octets of `text`, one Latin-1 character per octet, in the Huffman code. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let at = 0; at < text.length; at += 1) bits += CODE_BITS[text.charCodeAt(at) & 0xff] as number;
  return (bits + 7) >>> 3;
}

/** From here on a code does not fit next to seven bits that wait. */
const WIDE_BITS = 25;

/** Encodes `text` into bytes from `at` on, where there is room for {@link huffmanLength} octets. Returns the index behind it. */
export function encodeHuffman(text: string, bytes: Uint8Array, at: number): number {
  let next = at;
  /** The bits that wait for a whole octet are the low ones of `held`; there are fewer than eight between two characters. */
  let held = 0;
  let bits = 0;
  for (let index = 0; index < text.length; index += 1) {
    const octet = text.charCodeAt(index) & 0xff;
    const code = CODES[octet] as number;
    let taken = CODE_BITS[octet] as number;
    if (taken >= WIDE_BITS) {
      held = (held << 8) | (code >>> (taken - 8));
      bytes[next] = held >>> bits;
      next += 1;
      taken -= 8;
    }
    held = (held << taken) | (code & ((1 << taken) - 1));
    bits += taken;
    while (bits >= 8) {
      bits -= 8;
      bytes[next] = held >>> bits;
      next += 1;
    }
  }
  if (bits > 0) {
    bytes[next] = (held << (8 - bits)) | (0xff >>> bits);
    next += 1;
  }
  return next;
}
