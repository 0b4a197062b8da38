// Redis dies, then one of two control planes, while requests flow steadily (design 12). No request may fail; the figures are in the comments.
import t from "tap";
import { startRedis } from "../support/redis.ts";
import { requires } from "../support/requires.ts";
import { startCluster } from "./cluster.ts";
import { client, NGINX, scaled } from "./manifests.ts";
import { instanceIds, pause, startLoad } from "./steady-load.ts";
import { startTcpBalancer } from "./tcp-balancer.ts";
import { until } from "./until.ts";

const skip = requires("root", "ip", "iptables", "nginx", "redis-server");
// Several processes per pod: on a busy machine of two cores this takes its time.
t.setTimeout(300_000);

t.test("cluster: Redis is killed, then one of two replicas", { skip }, async (t) => {
  const redis = await startRedis();
  t.teardown(() => redis.close());
  const shared = { REMORA_STORE: "redis", REMORA_REDIS_URL: redis.url };
  const cluster = await startCluster(t, { withoutControl: true, control: shared });
  const host = cluster.runner.network.hostIpv4;
  await startTcpBalancer(t, host, 15010, [
    { host, port: 15110 },
    { host, port: 15210 },
  ]);
  // As the manifests lay it out: replicas of the control plane, and the injector by itself.
  const replica = { REMORA_ROLES: "ca,registry" };
  const one = await cluster.startControl("one", { grpc: 15110, admin: 15114 }, replica);
  const two = await cluster.startControl("two", { grpc: 15210, admin: 15214 }, replica);
  await cluster.startControl("injector", { grpc: 15310, admin: 15314 }, { REMORA_ROLES: "injector" });
  await cluster.apply(scaled(NGINX, 2), client("shop"));
  for (const port of [15114, 15214])
    await until(`the replica on ${port} knows every instance`, 30_000, async () => (await instanceIds(cluster, port)).length >= 3);

  const load = await startLoad(t, cluster, "kill -9 of Redis, then of one replica, then Redis comes back", 9);
  await pause(1_000);
  await redis.kill();
  await until("a replica says that it is degraded", 30_000, async () =>
    JSON.stringify(await one.api("/api/v1/health").catch(String)).includes("degraded"),
  );
  await pause(1_000);
  await one.kill();
  await pause(2_000);
  await redis.start();
  await until(
    "the other replica is well again",
    30_000,
    async () => !JSON.stringify(await two.api("/api/v1/health").catch(() => "degraded")).includes("degraded"),
  );
  await load.finish();
  await until("and knows every instance", 30_000, async () => (await instanceIds(cluster, 15214)).length >= 3);
});
