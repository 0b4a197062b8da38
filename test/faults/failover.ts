// Redis fails over: the primary dies, its replica is promoted, and the address leads there. What the replica had not heard of is lost.
import { type Fault, NOTHING_FAILS } from "./fault.ts";
import { everyInstanceKnown, isHealthy, watchInstances } from "./health.ts";
import { askRedis, REDIS_PORT } from "./world.ts";

export const FAILOVERS: readonly Fault[] = [
  {
    kind: "Redis failover",
    target: "Redis",
    what: "the primary is killed, its replica promoted after 1 s (10 s)",
    promise: "no live instance disappears; in step with the new primary again",
    bound: NOTHING_FAILS,
    isShort: true,
    async play(scene) {
      const { parts, redisAddress } = scene.world;
      const { redis, redisReplica, registry } = parts;
      const watch = watchInstances(scene);
      scene.undo(watch);
      scene.begin();
      await redis.kill();
      await scene.hold(1_000, 10_000);
      askRedis(redisReplica, ["REPLICAOF", "NO", "ONE"]);
      redisAddress.pointTo({ host: redisReplica.namespace.ipv4, port: REDIS_PORT });
      scene.over();
      await scene.becomes("the registry is well", 8_000, () => isHealthy(registry));
      await scene.hold(4_000, 10_000); // past a lease and its sweep
      const { lost } = watch();
      scene.check(`no live instance disappeared (${lost.join(", ") || "none"})`, lost.length === 0);
      scene.check("the new primary holds the leases", askRedis(redisReplica, ["DBSIZE"]) !== "0");
      // And back, for the rows that follow: a switch without loss.
      await redis.start();
      askRedis(redis, ["REPLICAOF", redisReplica.namespace.ipv4, String(REDIS_PORT)]);
      await scene.becomes("the old primary follows", 10_000, () =>
        askRedis(redis, ["INFO", "replication"]).includes("master_link_status:up"),
      );
      askRedis(redis, ["REPLICAOF", "NO", "ONE"]);
      redisAddress.pointTo({ host: redis.namespace.ipv4, port: REDIS_PORT });
      askRedis(redisReplica, ["REPLICAOF", redis.namespace.ipv4, String(REDIS_PORT)]);
      await scene.becomes("the registry is well after the way back", 8_000, () => isHealthy(registry));
      await scene.becomes("every instance is known", 5_000, everyInstanceKnown(scene));
    },
  },
];
