import t from "tap";
import { createGcraTable } from "../../../sidecar/policy/gcra-table.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

t.test("agrees with a plain map in least-recently-written order", async (t) => {
  for (const maxKeys of [1, 2, 3, 16, 17, 50]) {
    const random = createSeededRandom(maxKeys).next;
    const table = createGcraTable(maxKeys);
    const model = new Map<string, number>();
    for (let step = 0; step < 5_000; step += 1) {
      const key = `k${Math.floor(random() * maxKeys * 2)}`;
      if (random() < 0.5) {
        if (table.read(key) !== (model.get(key) ?? 0)) t.fail(`step ${step}: ${key} differs`);
        continue;
      }
      if (!model.delete(key) && model.size === maxKeys) model.delete(model.keys().next().value as string);
      model.set(key, step);
      table.write(key, step);
      if (table.size !== model.size) t.fail(`step ${step}: ${table.size} keys instead of ${model.size}`);
    }
    t.equal(table.size, Math.min(maxKeys, model.size));
  }
});
