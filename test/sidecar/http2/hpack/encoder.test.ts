import t from "tap";
import { HpackDecoder } from "../../../../sidecar/http2/hpack/decoder.ts";
import { HpackEncoder } from "../../../../sidecar/http2/hpack/encoder.ts";
import { HeaderEntry, INDEXING, type Indexing } from "../../../../sidecar/http2/hpack/header-entry.ts";
import { createSeededRandom } from "../../../support/seeded-random.ts";
import { decoded } from "./blocks.ts";
import { decodeFromNode, encodeBlock, encodeForNode } from "./differential.ts";
import { createHeaderLists } from "./header-lists.ts";

function entry(name: string, value: string, indexing: Indexing = INDEXING.indexed): HeaderEntry {
  return new HeaderEntry(name, value, indexing);
}

function put(encoder: HpackEncoder, ...entries: HeaderEntry[]): string {
  return encodeBlock(encoder, entries).toString("hex");
}

t.test("the requests of RFC 7541 appendix C.4 are written as it has them", async (t) => {
  const encoder = new HpackEncoder();
  const first = [entry(":method", "GET"), entry(":scheme", "http"), entry(":path", "/"), entry(":authority", "www.example.com")];
  t.equal(put(encoder, ...first), "828684418cf1e3c2e5f23a6ba0ab90f4ff");
  t.equal(put(encoder, ...first, entry("cache-control", "no-cache")), "828684be5886a8eb10649cbf");
  const third = [entry(":method", "GET"), entry(":scheme", "https"), entry(":path", "/index.html"), entry(":authority", "www.example.com")];
  t.equal(put(encoder, ...third, entry("custom-key", "custom-value")), "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf");
});

t.test("a field that was written once is one octet, from any sender", async (t) => {
  const encoder = new HpackEncoder();
  const first = entry("x-a", "1");
  put(encoder, first);
  t.equal(put(encoder, first), "be", "the same entry");
  t.equal(put(encoder, entry("x-a", "1"), entry("x-a", "1", INDEXING.once)), "bebe", "the same texts");
  const other = new HpackEncoder();
  put(other, entry("x-b", "1"), entry("x-a", "1"), entry("x-c", "1"));
  t.equal(put(other, first), "bf", "an entry that another connection has elsewhere");
  t.equal(put(encoder, first), "be");
});

t.test("a value that comes once is copied, and never enters the table", async (t) => {
  const encoder = new HpackEncoder();
  const once = [entry(":path", "/a", INDEXING.once), entry("x-request-id", "17"), entry("date", "now")];
  const block = put(encoder, ...once);
  t.equal(block.slice(0, 8), "04022f61");
  t.equal(put(encoder, ...once), block);
});

t.test("a secret stays one, even where its texts are in a table", async (t) => {
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder();
  for (let time = 0; time < 2; time += 1) {
    const block = encodeBlock(encoder, [
      entry("cookie", "a"),
      entry("cookie", "a", INDEXING.never),
      entry(":method", "GET", INDEXING.never),
    ]);
    t.strictSame(decoded(decoder, block), ["cookie: a", "cookie: a, never", ":method: GET, never"]);
  }
});

t.test("fields that are no entries go the same ways", async (t) => {
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder();
  const bytes = Buffer.alloc(200);
  const putField = (...field: [string, string, Indexing]) => bytes.subarray(0, encoder.putField(bytes, 0, ...field));
  t.strictSame(decoded(decoder, putField("x-a", "1", INDEXING.indexed)), ["x-a: 1"]);
  t.equal(putField("x-a", "1", INDEXING.indexed).toString("hex"), "be");
  t.equal(putField("x-a", "1", INDEXING.once).toString("hex"), "be");
  t.equal(putField("x-a", "2", INDEXING.once).toString("hex"), "0f2f0132");
  t.equal(putField("x-a", "1", INDEXING.never).toString("hex"), "1f2f0131");
  t.equal(putField(":method", "GET", INDEXING.once).toString("hex"), "82");
});

t.test("an entry of more than three quarters of the table does not empty it", async (t) => {
  const encoder = new HpackEncoder();
  put(encoder, entry("x-a", "1"));
  const large = entry("x-b", "b".repeat(3072 - 35 + 1));
  t.equal(put(encoder, large), put(encoder, large));
  t.equal(put(encoder, entry("x-a", "1")), "be");
  put(encoder, entry("x-b", "b".repeat(3072 - 35)));
  t.equal(put(encoder, entry("x-a", "1")), "bf");
});

t.test("a change of the table is told in front of the next block, the smallest in between too", async (t) => {
  const encoder = new HpackEncoder(8192);
  t.equal(put(encoder, entry(":method", "GET")), "82", "4096 is what every connection begins with");
  encoder.setPeerTableBytes(65_536);
  t.equal(put(encoder, entry(":method", "GET")), "3fe13f82", "no more than is wanted here");
  encoder.setPeerTableBytes(0);
  encoder.setPeerTableBytes(100);
  t.equal(put(encoder, entry(":method", "GET")), "203f4582");
  encoder.setPeerTableBytes(100);
  t.equal(put(encoder, entry(":method", "GET")), "82");
  encoder.setPeerTableBytes(50);
  encoder.setPeerTableBytes(40);
  t.equal(put(encoder, entry(":method", "GET")), "3f0982");
  t.equal(put(new HpackEncoder(0), entry("x-a", "1")).slice(0, 4), "2000");
});

t.test("down and up again between two blocks empties the table on both sides", async (t) => {
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder();
  t.strictSame(decoded(decoder, encodeBlock(encoder, [entry("x-a", "1")])), ["x-a: 1"]);
  encoder.setPeerTableBytes(0);
  encoder.setPeerTableBytes(4096);
  t.strictSame(decoded(decoder, encodeBlock(encoder, [entry("x-a", "1")])), ["x-a: 1"]);
  t.equal(decoder.insertions, 2);
});

t.test("lists come back from our own decoder, whatever the table", async (t) => {
  const random = createSeededRandom(3);
  for (const tableBytes of [0, 40, 100, 1000, 4096, 65_536]) {
    const lists = createHeaderLists(random);
    const encoder = new HpackEncoder(tableBytes);
    encoder.setPeerTableBytes(65_536);
    const decoder = new HpackDecoder(65_536);
    let different = 0;
    for (let count = 0; count < 2000; count += 1) {
      const list = lists.next();
      const got: HeaderEntry[] = [];
      const block = encodeBlock(encoder, list);
      if (!decoder.decode(block, 0, block.length, { add: (entry) => got.push(entry) })) t.fail(decoder.flaw);
      if (JSON.stringify(textsOf(got)) !== JSON.stringify(textsOf(list))) different += 1;
      if (decoder.tableBytes > tableBytes) t.fail(`${decoder.tableBytes} octets in a table of ${tableBytes}`);
    }
    t.equal(different, 0, `a table of ${tableBytes}`);
  }
});

function textsOf(list: readonly HeaderEntry[]): unknown[] {
  return list.map(({ name, value, indexing }) => [name, value, indexing === INDEXING.never]);
}

t.test("nghttp2 reads what we write, and we what it writes", async (t) => {
  for (const direction of [encodeForNode, decodeFromNode]) {
    for (const seed of [1, 2, 3, 4])
      t.match(await direction(seed, 500), { compared: 500, failures: [] }, `${direction.name}, seed ${seed}`);
  }
});
