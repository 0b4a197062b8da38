import t from "tap";
import { STATIC_COUNT, STATIC_ENTRIES, STATIC_NAMES, staticIndex, staticNameIndex } from "../../../../sidecar/http2/hpack/static-table.ts";

t.test("entries are where RFC 7541 appendix A has them", async (t) => {
  t.equal(STATIC_ENTRIES.length, STATIC_COUNT + 1);
  const samples = { 1: ":authority", 16: "accept-encoding", 31: "content-type", 32: "cookie", 55: "set-cookie", 61: "www-authenticate" };
  for (const [index, name] of Object.entries(samples)) t.equal(STATIC_ENTRIES[Number(index)]?.name, name);
  t.equal(STATIC_ENTRIES[14]?.value, "500");
});

t.test("every entry is found by its texts, and its name by the first that has it", async (t) => {
  for (let index = 1; index <= STATIC_COUNT; index += 1) {
    const { name, value, place } = STATIC_ENTRIES[index]!;
    t.equal(staticIndex(name, value), index);
    t.equal(place, -index);
    t.equal(STATIC_ENTRIES[staticNameIndex(name)]?.name, name);
    t.ok(staticNameIndex(name) <= index);
  }
  t.equal(STATIC_NAMES.size, 52);
  t.equal(staticNameIndex(":status"), 8);
});

t.test("what is not in it has no index", async (t) => {
  t.equal(staticIndex(":method", ""), 0);
  t.equal(staticIndex(":method", "PUT"), 0);
  t.equal(staticIndex("cookie", "a"), 0);
  t.equal(staticIndex("te", ""), 0);
  t.equal(staticNameIndex("te"), 0);
});
