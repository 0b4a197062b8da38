// What a million sidecars cost, from costs that are easy to multiply.
import t from "tap";
import { sayPaper } from "../../bench/control/paper.ts";

t.test("replicas and shards follow from the costs, and memory from how many share it", async (t) => {
  const text = sayPaper({
    planeMicros: 300, // 200 000 a second: 60 cores
    redisMicros: 30, // 6 cores
    pushMicros: 0,
    certifyMicros: 0,
    sidecarBytes: 5_000,
    connectionBytes: 45_000,
    mirrorBytes: 2_000,
  });
  t.match(text, "N = 100 replicas and M = 10 shards");
  t.match(text, "| heartbeats | 200000/s | 300 µs | 60.0 cores of all replicas |");
  t.match(text, /memory for its own sidecars \| 10000 a replica .* \| 0\.5 GB a replica/);
  t.match(text, /memory for everybody's leases .* \| 2\.0 GB a replica/);
});
