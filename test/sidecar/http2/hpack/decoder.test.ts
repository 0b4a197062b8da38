import t from "tap";
import { HpackDecoder } from "../../../../sidecar/http2/hpack/decoder.ts";
import { type HeaderEntry, INDEXING } from "../../../../sidecar/http2/hpack/header-entry.ts";
import { createSeededRandom } from "../../../support/seeded-random.ts";
import { decoded, hex } from "./blocks.ts";
import { RFC_7541_C2, RFC_7541_CONNECTIONS } from "./rfc7541-vectors.ts";

t.test("the representations of RFC 7541 appendix C.2", async (t) => {
  for (const { block, fields, tableBytes } of RFC_7541_C2) {
    const decoder = new HpackDecoder();
    t.strictSame(decoded(decoder, hex(block)), fields);
    t.equal(decoder.tableBytes, tableBytes);
  }
});

for (const { name, tableBytes, blocks } of RFC_7541_CONNECTIONS) {
  t.test(`the connection of RFC 7541 appendix ${name}`, async (t) => {
    const decoder = new HpackDecoder();
    // The examples of answers agreed on a table of 256 octets beforehand.
    if (tableBytes !== 4096) t.strictSame(decoded(decoder, hex("3fe101")), []);
    for (const { block, fields, tableBytes } of blocks) {
      t.strictSame(decoded(decoder, hex(block)), fields);
      t.equal(decoder.tableBytes, tableBytes);
    }
  });
}

t.test("a field that is in a table is given as the same entry each time", async (t) => {
  const decoder = new HpackDecoder();
  const entries: HeaderEntry[] = [];
  for (const block of ["8284 40 03782d61 0131", "82be", "be"]) {
    t.ok(decoder.decode(hex(block), 0, hex(block).length, { add: (entry) => entries.push(entry) }));
  }
  t.equal(entries[3], entries[0]);
  t.equal(entries[4], entries[2]);
  t.equal(entries[5], entries[2]);
  t.equal(decoder.insertions, 1);
});

t.test("names that come as literals, and those of a table, are one text", async (t) => {
  const entries: HeaderEntry[] = [];
  for (const decoder of [new HpackDecoder(), new HpackDecoder()]) {
    const block = hex("40 03782d61 0131 7e 0132 00 03782d61 0133");
    t.ok(decoder.decode(block, 0, block.length, { add: (entry) => entries.push(entry) }));
  }
  t.strictSame([...new Set(entries.map(({ known }) => known))].length, 1);
});

const FLAWS: ReadonlyArray<readonly [what: string, block: string, flaw: string]> = [
  ["index 0", "80", "index beyond the table"],
  ["an index in an empty dynamic table", "be", "index beyond the table"],
  ["an index far beyond", "ff ff ff 7f", "index beyond the table"],
  ["a name of an empty dynamic table", "7e 0131", "index beyond the table"],
  ["an index that does not end", "ff 80", "index is no number"],
  ["an index of six continuation octets", "ff 80 80 80 80 80 00", "index is no number"],
  ["an index beyond 2^28", "ff ff ff ff ff 01", "index is no number"],
  ["a literal without a name", "40", "length of a string is no number"],
  ["a literal without a value", "40 0161", "length of a string is no number"],
  ["a name beyond the block", "40 05 6161", "string beyond the block"],
  ["a value beyond the block", "40 0161 7f ffff7f", "string beyond the block"],
  ["EOS in a string", "40 84 fffffffc 00", "not Huffman code"],
  ["EOS behind text", "00 0161 85 1fffffffe0", "not Huffman code"],
  ["padding of a whole octet", "00 0161 82 1f ff", "not Huffman code"],
  ["padding of eight bits: an octet and nothing", "00 0161 81 ff", "not Huffman code"],
  ["padding with a zero in it", "00 0161 81 1e", "not Huffman code"],
  ["padding of zeros", "00 0161 81 18", "not Huffman code"],
  ["a long code that is cut", "00 0161 82 ff c0", "not Huffman code"],
  ["a size beyond SETTINGS", "3f e2 1f", "table size beyond SETTINGS_HEADER_TABLE_SIZE"],
  ["a size behind a field", "82 20", "table size update behind a field"],
  ["three sizes", "20 20 20", "too many table size updates"],
  ["a size that does not end", "3f", "table size is no number"],
];

t.test("what is a COMPRESSION_ERROR", async (t) => {
  for (const [what, block, flaw] of FLAWS) t.equal(decoded(new HpackDecoder(), hex(block)), flaw, what);
});

t.test("the same number in more octets than it needs is fine, up to five more", async (t) => {
  t.strictSame(decoded(new HpackDecoder(), hex("0f 80 80 80 80 00 0131")), ["accept-charset: 1, once"]);
});

t.test("down to nothing and up again empties the table", async (t) => {
  const decoder = new HpackDecoder();
  t.strictSame(decoded(decoder, hex("40 0161 0131")), ["a: 1"]);
  t.strictSame(decoded(decoder, hex("20 3fe11f")), []);
  t.equal(decoded(decoder, hex("be")), "index beyond the table");
});

t.test("an entry larger than the table empties it and is given all the same", async (t) => {
  const decoder = new HpackDecoder();
  t.strictSame(decoded(decoder, hex("3f21 40 0161 0131")), ["a: 1"]);
  t.strictSame(decoded(decoder, Buffer.concat([hex("40 0162 28"), Buffer.alloc(40, "x")])), [`b: ${"x".repeat(40)}`]);
  t.equal(decoder.tableBytes, 0);
});

t.test("a name of the table may be that of an entry which goes for the new one", async (t) => {
  const decoder = new HpackDecoder();
  t.strictSame(decoded(decoder, hex("3f05 40 0161 0131")), ["a: 1"]);
  t.strictSame(decoded(decoder, hex("7e 0132")), ["a: 2"]);
  t.equal(decoder.tableBytes, 34);
});

t.test("SETTINGS that make the table smaller hold from their acknowledgement on, and must be followed", async (t) => {
  const decoder = new HpackDecoder(64);
  t.strictSame(decoded(decoder, hex("40 0161 0131")), ["a: 1"], "the peer may not have seen them");
  decoder.limitTable(64);
  t.equal(decoded(decoder, hex("be")), "table not reduced to SETTINGS_HEADER_TABLE_SIZE");
  const other = new HpackDecoder(64);
  other.limitTable(64);
  t.strictSame(decoded(other, hex("3f21 82")), [":method: GET"]);
  t.equal(decoded(other, hex("3f22")), "table size beyond SETTINGS_HEADER_TABLE_SIZE");
});

t.test("SETTINGS that make the table larger let the peer use it", async (t) => {
  const decoder = new HpackDecoder(65_536);
  t.strictSame(decoded(decoder, hex("3fe1ff03 82")), [":method: GET"]);
});

t.test("the table keeps to its bound, and a ring that grew still has everything", async (t) => {
  const decoder = new HpackDecoder();
  const insert = (value: number) => Buffer.concat([hex("40 0161 04"), Buffer.from(String(1000 + value))]);
  for (let value = 0; value < 1000; value += 1) decoded(decoder, insert(value));
  t.equal(decoder.tableBytes, 37 * 110, "110 entries of 37");
  t.equal(decoder.insertions, 1000);
  for (let age = 0; age < 110; age += 1) {
    const index = 62 + age;
    t.strictSame(decoded(decoder, index < 127 ? Buffer.of(0x80 | index) : Buffer.of(0xff, index - 127)), [`a: ${1999 - age}`]);
  }
  t.equal(decoded(decoder, Buffer.of(0xff, 172 - 127)), "index beyond the table");
});

t.test("random octets are read to their end or refused, and the table keeps to its bound", async (t) => {
  const random = createSeededRandom(7541);
  let refused = 0;
  let largest = 0;
  for (let run = 0; run < 20_000; run += 1) {
    const decoder = new HpackDecoder();
    for (let isFine = true; isFine && largest <= 4096; ) {
      const block = Buffer.from(Array.from({ length: 1 + random.below(200) }, () => random.below(random.below(4) === 0 ? 256 : 0xc0)));
      let octets = 0;
      const add = ({ name, value }: HeaderEntry) => {
        octets += name.length + value.length;
      };
      isFine = decoder.decode(block, 0, block.length, { add });
      if (octets > block.length * 4200) t.fail(`${octets} octets out of ${block.length}`);
      largest = Math.max(largest, decoder.tableBytes);
      if (!isFine) refused += 1;
    }
  }
  t.equal(refused, 20_000);
  t.ok(largest > 0 && largest <= 4096, `${largest} octets in a table at most`);
});

t.test("a path that comes again without indexing is one entry, worth a place; one with a query is not, and a secret never", async (t) => {
  const pathsOf = (block: Buffer) => {
    const entries: HeaderEntry[] = [];
    for (let time = 0; time < 4; time += 1) {
      t.ok(new HpackDecoder().decode(block, 0, block.length, { add: (entry) => entries.push(entry) }));
    }
    return entries;
  };
  const path = pathsOf(Buffer.concat([hex("04 0a"), Buffer.from("/shop.A/Go")]));
  t.strictSame(
    path.map(({ value, indexing }) => [value, indexing]),
    [["/shop.A/Go", INDEXING.once], ...Array.from({ length: 3 }, () => ["/shop.A/Go", INDEXING.indexed])],
  );
  t.equal(path[3], path[1]);
  const query = pathsOf(Buffer.concat([hex("04 0a"), Buffer.from("/shop?a=17")]));
  t.ok(query.every(({ value, indexing }) => value === "/shop?a=17" && indexing === INDEXING.once));
  const secret = pathsOf(Buffer.concat([hex("14 0a"), Buffer.from("/shop.A/Go")]));
  t.ok(secret.every(({ value, indexing }) => value === "/shop.A/Go" && indexing === INDEXING.never));
});
