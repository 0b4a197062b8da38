import t from "tap";
import { createGcraTable } from "../../../sidecar/policy/gcra-table.ts";
import { createSharedGcraTable, gcraSets, gcraTableBytes } from "../../../sidecar/workers/shared-gcra-table.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

const SEED = [0x1234_5678, 0x9abc_def0] as const;

function tableOf(sets: number) {
  const buffer = new ArrayBuffer(64 + gcraTableBytes(sets));
  return { table: createSharedGcraTable({ buffer, offset: 64, sets }, SEED), buffer };
}

t.test("it answers as the table of one process does", async (t) => {
  const { table: shared } = tableOf(gcraSets(false));
  const own = createGcraTable(10_000);
  const random = createSeededRandom(7);
  const keys = Array.from({ length: 3_000 }, (_, n) =>
    n % 2 === 0 ? `spiffe://cluster.local/ns/shop/sa/web-${n}` : `10.0.${n >> 8}.${n & 255}`,
  );
  for (let step = 0; step < 200_000; step++) {
    const key = random.pick(keys);
    if (random.next() < 0.5) {
      const tat = step + random.next();
      shared.write(key, tat);
      own.write(key, tat);
    } else if (shared.read(key) !== own.read(key)) t.fail(`${key} after ${step} steps`);
  }
  t.equal(shared.size, own.size);
});

t.test("two views of one memory are one table; another seed finds nothing", async (t) => {
  const { table, buffer } = tableOf(4);
  table.write("a", 5);
  t.equal(createSharedGcraTable({ buffer, offset: 64, sets: 4 }, SEED).read("a"), 5);
  t.equal(createSharedGcraTable({ buffer, offset: 64, sets: 4 }, [1, 2]).read("a"), 0);
});

t.test("in a full set the key that was due earliest makes room", async (t) => {
  const { table } = tableOf(gcraSets(true));
  for (let n = 0; n < 16; n++) table.write(`key ${n}`, 100 + ((n * 7) % 16));
  t.equal(table.size, 16);
  table.write("one more", 200);
  t.equal(table.size, 16);
  t.equal(table.read("key 0"), 0, "the earliest is forgotten");
  for (let n = 1; n < 16; n++) t.equal(table.read(`key ${n}`), 100 + ((n * 7) % 16));
  t.equal(table.read("one more"), 200);
});

t.test("keys that differ in one character or in length are different keys", async (t) => {
  const { table } = tableOf(gcraSets(false));
  const keys = ["", "a", "b", "aa", "ab", "ba", "10.0.0.1", "10.0.0.10", "10.0.1.0", "1.0.0.10", "\u0000", "\u0000\u0000"];
  keys.forEach((key, index) => void table.write(key, index + 1));
  keys.forEach((key, index) => void t.equal(table.read(key), index + 1, JSON.stringify(key)));
});

t.test("ten thousand keys that are all being limited hardly push each other out", async (t) => {
  const { table } = tableOf(gcraSets(false));
  for (let n = 0; n < 10_000; n++) table.write(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`, 1_000 + n);
  t.ok(table.size >= 9_990, `${table.size} of 10 000 are held`);
});
