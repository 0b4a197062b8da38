import t from "tap";
import { EncoderTable } from "../../../../sidecar/http2/hpack/encoder-table.ts";
import { HeaderEntry, INDEXING } from "../../../../sidecar/http2/hpack/header-entry.ts";

t.test("look-ups hold what the table holds, and no more", async (t) => {
  const table = new EncoderTable();
  for (let count = 0; count < 5000; count += 1) {
    const entry = new HeaderEntry(`x-${count % 700}`, String(count % 9), INDEXING.indexed);
    table.insert(entry);
    if (table.indexByGuess(entry) !== 62) t.fail(`${count} is not the newest`);
    if (table.indexOf(table.numberOf(entry.name, entry.value)) !== 62) t.fail(`${count} is not found`);
    if (table.names > table.count) t.fail(`${table.names} names of ${table.count} entries`);
  }
  t.ok(table.count > 100 && table.count < 128);
  table.resize(0);
  t.equal(table.count, 0);
  t.equal(table.names, 0);
});

t.test("the older of two entries with the same texts may go without the newer", async (t) => {
  const table = new EncoderTable();
  table.resize(120);
  for (const value of ["1", "2", "1", "3"]) table.insert(new HeaderEntry("x-a", value, INDEXING.indexed));
  t.equal(table.indexOf(table.numberOf("x-a", "1")), 63);
  t.equal(table.indexOf(table.numberOf("x-a", "2")), 64);
  table.insert(new HeaderEntry("x-b", "1", INDEXING.indexed));
  t.equal(table.numberOf("x-a", "2"), -1);
  t.equal(table.nameIndex("x-a"), 63);
  t.equal(table.numberOf("x-a", "1") >= 0, true);
});

t.test("a guess that is wrong, stale or of another table finds nothing that is not the same", async (t) => {
  const table = new EncoderTable();
  const entry = new HeaderEntry("x-a", "1", INDEXING.indexed);
  t.equal(table.indexByGuess(entry), 0);
  table.insert(entry);
  for (const [place, index] of [
    [0, 62],
    [1, 0],
    [32, 62],
    [2 ** 31 + 32, 62],
    [-32, 62],
  ] as const) {
    entry.place = place;
    t.equal(table.indexByGuess(entry), index, String(place));
  }
  table.resize(0);
  t.equal(table.indexByGuess(entry), 0);
});
