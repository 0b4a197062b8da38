// The table of a connection's streams, against a Map: whatever is added and taken out in whatever order, both hold the same.
import t from "tap";
import type { Stream } from "../../../sidecar/http2/stream.ts";
import { StreamTable } from "../../../sidecar/http2/stream-table.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

/** What of a stream the table looks at. */
function streamOf(id: number): Stream {
  return { id, following: null } as unknown as Stream;
}

t.test("holds what a Map would, in the order of the ids", async (t) => {
  for (const most of [1, 3, 40, 1_000]) {
    const random = createSeededRandom(most);
    const table = new StreamTable();
    const map = new Map<number, Stream>();
    let nextId = 1;
    for (let step = 0; step < 20 * most + 200; step += 1) {
      if (map.size < most && (map.size === 0 || random.next() < 0.55)) {
        const stream = streamOf(nextId);
        nextId += random.next() < 0.1 ? 2_000 : 2; // a client may leave ids out
        table.add(stream);
        map.set(stream.id, stream);
      } else {
        const stream = random.pick([...map.values()]);
        table.remove(stream);
        map.delete(stream.id);
        if (table.get(stream.id) !== null) t.fail(`stream ${stream.id} is still there`);
      }
      if (table.size !== map.size) t.fail(`${table.size} streams, not ${map.size}`);
    }
    t.strictSame(
      table.all().map(({ id }) => id),
      [...map.keys()],
    );
    for (const [id, stream] of map) if (table.get(id) !== stream) t.fail(`stream ${id} is not found`);
  }
});

t.test("a stream that is not in it is not taken out, and ids that nobody opened are not found", async (t) => {
  const table = new StreamTable();
  const [one, other] = [streamOf(1), streamOf(1 + 2 * 8)];
  table.add(one);
  table.remove(other);
  t.equal(table.size, 1);
  for (const id of [0, 2, 3, other.id, 0x7fffffff]) t.equal(table.get(id), null, `stream ${id}`);
  table.add(other);
  t.equal(table.get(1), one, "both are in one chain");
  table.remove(one);
  table.remove(one);
  t.equal(table.size, 1, "taken out once");
  t.equal(table.get(other.id), other);
});
