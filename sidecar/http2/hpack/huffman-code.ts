// The Huffman code of HPACK (RFC 7541 appendix B). It is canonical: codes of one length follow one another in the order of their octets, and the shorter
// ones come first; so the lengths say everything.

/** The symbol behind the octets, which no string may have in it (RFC 7541 section 5.2). */
export const EOS = 256;

/** Bits of the longest code, that of EOS among others. */
export const LONGEST_BITS = 30;

/** Bits of the code of each octet, and of EOS. */
// biome-ignore format: sixteen a line
export const CODE_BITS = Uint8Array.of(
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
);

/** The symbols in the order of their codes. */
export const SYMBOLS = Uint16Array.from(
  Array.from(CODE_BITS, (_, symbol) => symbol).sort((left, right) => bitsOf(left) - bitsOf(right) || left - right),
);

/** The code of each octet, and of EOS, in the low bits. */
export const CODES = new Uint32Array(EOS + 1);

/** By length: the first number of 32 bits that begins with a longer code. A window below it begins with a code that is no longer than this. */
export const WINDOW_ENDS = new Float64Array(LONGEST_BITS + 1);

/** By length: what to take from a code to have its place in {@link SYMBOLS}. */
export const CODE_BASES = new Int32Array(LONGEST_BITS + 1);

numberCodes();

function numberCodes(): void {
  let code = 0;
  let place = 0;
  for (let bits = 1; bits <= LONGEST_BITS; bits += 1) {
    code *= 2;
    CODE_BASES[bits] = code - place;
    for (; place < SYMBOLS.length && bitsOf(SYMBOLS[place] as number) === bits; place += 1, code += 1)
      CODES[SYMBOLS[place] as number] = code;
    WINDOW_ENDS[bits] = code * 2 ** (32 - bits);
  }
}

function bitsOf(symbol: number): number {
  return CODE_BITS[symbol] as number;
}
