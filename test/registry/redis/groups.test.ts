// The store on a Sentinel group and on a Redis Cluster of six nodes, with a master killed in each.
import t from "tap";
import { Redis } from "ioredis";
import { requires } from "../../support/requires.ts";
import { startRedisCluster, startSentinelGroup } from "../../support/redis-groups.ts";
import { slotOf } from "../../../registry/redis/slot.ts";
import { createShards, shardOf } from "../../../registry/redis/shards.ts";
import { beating, droppedFrom, idsOf, LEASE_MS, leaseOf, LOAD, pause, storeOf, until } from "./stores.ts";

const skip = requires("redis-server", "setpriv");
// Failovers take their time on a busy machine.
t.setTimeout(300_000);
const IDS = Array.from({ length: 40 }, (_, n) => `i${n}`);

t.test("Sentinel: the master is killed, a replica takes over, nobody who is alive leaves", { skip }, async (t) => {
  const group = await startSentinelGroup(t);
  const login = { sentinelLogin: { user: null, password: group.sentinelPassword } };
  const [a, b] = [await storeOf(t, group, login), await storeOf(t, group, login)];
  beating(t, a, IDS.slice(0, 20));
  beating(t, b, IDS.slice(20));
  await until("both know all", () => idsOf(a).length === 40 && idsOf(b).length === 40);
  const dropped = [droppedFrom(a), droppedFrom(b)];

  const master = await group.master();
  const killedAtMs = Date.now();
  await master.kill();
  await until("both notice", () => a.status().status === "degraded" && b.status().status === "degraded");
  await a.renew(leaseOf("new"), LOAD);
  const stop = beating(t, a, ["new"]);
  await until("both are back", () => a.status().status === "ok" && b.status().status === "ok");
  t.comment(`without a master for ${Date.now() - killedAtMs} ms`);
  t.not((await group.master()).port, master.port, "another server is the master");
  await until("what was accepted meanwhile is known to all", () => idsOf(b).includes("new"));
  await pause(LEASE_MS * 2);
  t.strictSame(dropped, [[], []]);

  await master.start();
  await pause(500);
  t.strictSame([a.status().status, b.status().status], ["ok", "ok"], "the old master, back as a replica of nobody yet, is not used");
  stop();
  await until("leases expire as ever", () => !idsOf(a).includes("new") && !idsOf(b).includes("new"));
  t.equal(idsOf(a).length, 40);
});

t.test("Redis Cluster of six nodes", { skip }, async (t) => {
  const startedAtMs = Date.now();
  const cluster = await startRedisCluster(t);
  t.comment(`formed within ${Date.now() - startedAtMs} ms`);

  await t.test("slots that move to another master are followed, ASK and MOVED alike, without an outage", async (t) => {
    const statuses: string[] = [];
    const a = await storeOf(t, cluster, { onStatus: ({ status }) => statuses.push(status) });
    await a.renew(leaseOf("mover"), LOAD);
    const slot = slotOf(shardOf(createShards("remora"), "mover").keys[0]);
    const [from, to] = [cluster.nodes[Math.floor((slot * 3) / 16384)], cluster.nodes[(Math.floor((slot * 3) / 16384) + 1) % 3]];
    if (from === undefined || to === undefined) throw new Error("no node");
    const idOf = (node: typeof from) => cluster.ask(node, (redis) => redis.cluster("MYID"));
    const [fromId, toId] = [await idOf(from), await idOf(to)];
    const set = (node: typeof from, ...args: (string | number)[]) =>
      cluster.ask(node, (redis) => redis.call("CLUSTER", "SETSLOT", slot, ...args));

    await set(to, "IMPORTING", fromId);
    await set(from, "MIGRATING", toId);
    const keys = (await cluster.ask(from, (redis) => redis.call("CLUSTER", "GETKEYSINSLOT", slot, 100))) as string[];
    await cluster.ask(from, (redis) => redis.call("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", ...keys));
    await a.renew(leaseOf("mover", { version: "on the way" }), LOAD);
    const held = new Redis({ port: to.port, host: "127.0.0.1" });
    t.teardown(() => held.disconnect());
    await held.asking();
    t.match(await held.hget(shardOf(createShards("remora"), "mover").keys[0], "mover"), /on the way/, "it went where ASK said");
    await until("and came back through the stream", () => a.leases.get("mover")?.lease.version === "on the way");

    for (const node of [to, from, ...cluster.nodes.slice(0, 3)]) await set(node, "NODE", toId);
    await a.renew(leaseOf("mover", { version: "moved" }), LOAD);
    await until("the stream goes on", () => a.leases.get("mover")?.lease.version === "moved");
    t.strictSame(statuses, [], "never degraded");
  });

  await t.test("shards are on all masters; one is killed, its replica takes over, nobody who is alive leaves", async (t) => {
    const [a, b] = [await storeOf(t, cluster), await storeOf(t, cluster)];
    beating(t, a, IDS.slice(0, 20));
    beating(t, b, IDS.slice(20));
    await until("both know all", () => idsOf(a).length === 40 && idsOf(b).length === 40);
    for (const node of cluster.nodes.slice(0, 3)) {
      const keys = await cluster.ask(node, (redis) => redis.keys("remora:*:leases"));
      t.ok(keys.length >= 3, `a master holds ${keys.length} shards`);
      for (const key of keys) t.equal(slotOf(key), await cluster.ask(node, (redis) => redis.cluster("KEYSLOT", key)));
    }
    const dropped = [droppedFrom(a), droppedFrom(b)];

    const killedAtMs = Date.now();
    await cluster.nodes[1]?.kill();
    await until("both notice", () => a.status().status === "degraded" && b.status().status === "degraded");
    await until("both are back", () => a.status().status === "ok" && b.status().status === "ok");
    t.comment(`without one of three masters for ${Date.now() - killedAtMs} ms`);
    await a.renew(leaseOf("new"), LOAD);
    await until("what is new is known to all", () => idsOf(b).includes("new"));
    await pause(LEASE_MS * 2);
    t.strictSame(
      dropped.map((ids) => ids.filter((id) => id !== "new")),
      [[], []],
    );
  });
});
