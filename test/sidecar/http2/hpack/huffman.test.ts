import t from "tap";
import { decodeHuffman, encodeHuffman, huffmanLength, mostDecoded } from "../../../../sidecar/http2/hpack/huffman.ts";
import { CODE_BITS, CODES, EOS } from "../../../../sidecar/http2/hpack/huffman-code.ts";
import { createSeededRandom } from "../../../support/seeded-random.ts";

/** There is one code for a text. Nothing is written behind it. */
function coded(text: string): Buffer {
  const bytes = Buffer.alloc(huffmanLength(text) + 1, 0xaa);
  if (encodeHuffman(text, bytes, 0) !== bytes.length - 1 || bytes.at(-1) !== 0xaa)
    throw new Error(`${JSON.stringify(text)} has another length`);
  return bytes.subarray(0, -1);
}

function decoded(bytes: Buffer): string | null {
  const text = Buffer.alloc(mostDecoded(bytes.length));
  const octets = decodeHuffman(bytes, 0, bytes.length, text);
  return octets === -1 ? null : text.toString("latin1", 0, octets);
}

t.test("codes are those of RFC 7541 appendix B", async (t) => {
  const samples = {
    0: [0x1ff8, 13],
    10: [0x3ffffffc, 30],
    48: [0, 5],
    97: [3, 5],
    128: [0xfffe6, 20],
    249: [0xffffffe, 28],
    255: [0x3ffffee, 26],
  };
  for (const [octet, [code, bits]] of Object.entries(samples))
    t.strictSame([CODES[Number(octet)], CODE_BITS[Number(octet)]], [code, bits], octet);
  t.strictSame([CODES[EOS], CODE_BITS[EOS]], [0x3fffffff, 30]);
  t.equal(
    CODE_BITS.reduce((sum, bits) => sum + 2 ** -bits, 0),
    1,
    "no code is missing",
  );
});

t.test("every octet, alone and before and behind every other, comes back", async (t) => {
  let different = 0;
  const bytes = Buffer.alloc(16);
  const text = Buffer.alloc(16);
  for (let first = 0; first < 256; first += 1) {
    for (let second = 0; second < 256; second += 1) {
      const pair = String.fromCharCode(first, second, first);
      const octets = decodeHuffman(bytes, 0, encodeHuffman(pair, bytes, 0), text);
      if (text.toString("latin1", 0, octets) !== pair) different += 1;
    }
  }
  t.equal(different, 0);
});

t.test("random texts come back, and no octet of their last one can be missing", async (t) => {
  const random = createSeededRandom(1);
  for (let run = 0; run < 300; run += 1) {
    const octets = Array.from({ length: random.below(200) }, () => (random.below(3) === 0 ? random.below(256) : 0x20 + random.below(0x60)));
    const text = String.fromCharCode(...octets);
    const bytes = coded(text);
    t.equal(decoded(bytes), text);
    t.not(decoded(bytes.subarray(0, -1)), text === "" ? null : text);
  }
});

t.test("nothing grows by more than it may", async (t) => {
  const bytes = Buffer.alloc(1000);
  const text = Buffer.alloc(mostDecoded(bytes.length));
  t.equal(decodeHuffman(bytes, 0, bytes.length, text), 1600, "the shortest code, five zeros");
});

t.test("random octets are decoded, or refused, within the bound", async (t) => {
  const random = createSeededRandom(2);
  let refused = 0;
  for (let run = 0; run < 50_000; run += 1) {
    const bytes = Buffer.from(Array.from({ length: random.below(24) }, () => (random.below(3) === 0 ? 0xff : random.below(256))));
    const text = decoded(bytes);
    if (text === null) refused += 1;
    else if (text.length > mostDecoded(bytes.length) || !bytes.equals(coded(text)))
      t.fail(`${bytes.toString("hex")} is ${JSON.stringify(text)}`);
  }
  t.ok(refused > 1000 && refused < 50_000, `${refused} refused`);
});
