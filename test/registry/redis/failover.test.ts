// A master of Redis is killed under the heartbeats of many sidecars. The large form, with 5000 of them, is `npm run redis:failover`.
import t from "tap";
import { requires } from "../../support/requires.ts";
import { describeFailover, playFailover } from "./failover.ts";

const skip = requires("redis-server", "setpriv");
t.setTimeout(300_000);

t.test("a six-node cluster loses a master under heartbeats: nobody who is alive leaves any view", { skip }, async (t) => {
  const report = await playFailover(t, { kind: "cluster", sidecars: 300, heartbeatMs: 800, leaseMs: 3000, rampMs: 1000 });
  for (const line of describeFailover("cluster", report)) t.comment(line);
  t.strictSame(report.missing, []);
  t.equal(report.heartbeats.refusals, 0);
  t.strictSame(report.heartbeats.failures, {});
  t.ok(report.withoutRedisMs > 0, "the replicas did lose a master");
});
