// A short run of the fuzz through the real thing: two sidecars with mTLS between them, a client's and an app's sockets. Every client hears the answers to its own
// requests and nothing else, whatever the others send, and whatever the app mangles.
import t from "tap";
import { isForMesh, MESH_HOSTS, startMeshRun } from "../../support/http1-fuzz/mesh-run.ts";
import { generateCase } from "../../support/http1-fuzz/generate.ts";

const SEED = 20_261_122;
const BATCH = 100;
const BATCHES = 6;
/** Fewer would be no run at all. */
const LEAST_EXCHANGES = 100;

t.test("each client hears what its requests mean, through both hops", async (t) => {
  const mesh = await startMeshRun(t);
  let exchanges = 0;
  const found: string[] = [];
  for (let number = 0; number < BATCHES * BATCH && found.length === 0; number += BATCH) {
    const cases = Array.from({ length: BATCH }, (_, index) => generateCase(SEED, number + index, MESH_HOSTS)).filter(isForMesh);
    for (const { fuzzCase, text, heard } of await mesh.run(cases)) {
      found.push(`seed ${SEED}, case ${fuzzCase.number}: ${text}: sent ${JSON.stringify(fuzzCase.pieces)}, heard ${JSON.stringify(heard)}`);
    }
    exchanges += cases.reduce((sum, each) => sum + each.exchanges, 0);
  }
  t.same(found, []);
  t.ok(exchanges >= LEAST_EXCHANGES, `${exchanges} exchanges`);
});
