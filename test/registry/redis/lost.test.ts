// What a Redis loses, a replica misses, and a clock does: the living stay in every view, the dead go and stay away.
import t from "tap";
import { Redis } from "ioredis";
import { systemClock } from "../../../core/clock.ts";
import type { LeaseStore } from "../../../registry/lease-store.ts";
import { createMemoryStore } from "../../../registry/memory-store.ts";
import { createFakeClock } from "../../support/fake-clock.ts";
import { createShards, shardOf } from "../../../registry/redis/shards.ts";
import type { RedisServer } from "../../support/redis.ts";
import { requires } from "../../support/requires.ts";
import { startTcpGate } from "../../support/tcp-gate.ts";
import { beating, droppedFrom, idsOf, LEASE_MS, leaseOf, LOAD, pause, redisOf, storeOf, until } from "./stores.ts";

const skip = requires("redis-server", "setpriv");
t.setTimeout(300_000);

const same = (store: LeaseStore, ids: readonly string[]) => idsOf(store).join() === [...ids].sort().join();

function adminOf(t: { teardown(run: () => void): void }, redis: RedisServer): Redis {
  const admin = new Redis(redis.url);
  t.teardown(() => admin.disconnect());
  return admin;
}

async function textsIn(admin: Redis): Promise<number> {
  let sum = 0;
  for (const key of await admin.keys("remora:*}:leases")) sum += await admin.hlen(key);
  return sum;
}

t.test("FLUSHALL, and every key that an eviction can take: the living stay, the dead go", { skip }, async (t) => {
  const redis = await redisOf(t);
  const [a, b] = [await storeOf(t, redis), await storeOf(t, redis)];
  const admin = adminOf(t, redis);
  const living = Array.from({ length: 30 }, (_, n) => `alive-${n}`);
  beating(t, a, living.slice(0, 15));
  beating(t, b, living.slice(15));
  await until("both know all", () => same(a, living) && same(b, living));
  const dropped = [droppedFrom(a), droppedFrom(b)];

  for (const part of ["leases", "expiry", "changes", "state", "everything"]) {
    const dead = `dead-${part}`;
    const stop = beating(t, a, [dead]);
    await until("both know it", () => same(a, [...living, dead]) && same(b, [...living, dead]));
    stop();
    if (part === "everything") await admin.flushall();
    else await admin.del(...(await admin.keys(`remora:*}:${part}`)));
    await until(`the dead one goes without its ${part}`, () => same(a, living) && same(b, living));
    await until("and Redis has the living", async () => (await textsIn(admin)) === living.length);
  }
  const gone = ["leases", "expiry", "changes", "state", "everything"].map((part) => `dead-${part}`);
  t.strictSame(dropped, [gone, gone], "nothing else ever left a view");
  const fresh = await storeOf(t, redis);
  t.strictSame(idsOf(fresh), [...living].sort(), "a replica that starts now knows all");
});

t.test("a replica that is too slow for the change stream reads again what it missed, and is never degraded", { skip }, async (t) => {
  const redis = await redisOf(t);
  const gate = await startTcpGate(redis.port);
  t.teardown(() => gate.close());
  const statuses: string[] = [];
  const a = await storeOf(t, redis, { maxChanges: 5, leaseMs: 10_000 });
  const b = await storeOf(
    t,
    { url: `redis://127.0.0.1:${gate.port}` },
    { leaseMs: 10_000, onStatus: ({ status }) => statuses.push(status) },
  );
  const admin = adminOf(t, redis);
  const shards = createShards("remora");
  const neighbour = Array.from({ length: 200 }, (_, n) => `i-${n}`).find((id) => shardOf(shards, id) === shardOf(shards, "left")) ?? "";
  await a.renew(leaseOf("left"), LOAD);
  await until("b follows", () => same(b, ["left"]));

  gate.set("held");
  // All in one shard, whose stream keeps about a hundred: Redis trims by whole blocks.
  for (let n = 0; n < 300; n += 50)
    await Promise.all(Array.from({ length: 50 }, (_, at) => a.renew(leaseOf(neighbour, { version: `v${n + at}` }), LOAD)));
  await a.remove("left", leaseOf("left"));
  for (const key of await admin.keys("remora:*}:changes")) t.ok((await admin.xlen(key)) < 150, "the stream is bounded");
  gate.set("open");
  await until("b has what it missed", () => same(b, [neighbour]) && b.leases.get(neighbour)?.lease.version === "v299");
  t.ok(same(a, [neighbour]));
  t.strictSame(statuses, []);
});

t.test("a replica that was cut off comes back with the living and without the dead", { skip }, async (t) => {
  const redis = await redisOf(t);
  const gate = await startTcpGate(redis.port);
  t.teardown(() => gate.close());
  const a = await storeOf(t, redis, { leaseMs: 3000 });
  const b = await storeOf(t, { url: `redis://127.0.0.1:${gate.port}` }, { leaseMs: 3000 });
  await b.renew(leaseOf("drained"), LOAD);
  await b.renew(leaseOf("old-pod"), LOAD);
  await b.renew(leaseOf("restarted", { epoch: 2000 }), LOAD);
  await until("both know them", () => idsOf(a).length === 3 && idsOf(b).length === 3);
  const dropped = droppedFrom(b);
  const added: string[] = [];

  gate.set("cut");
  await until("b notices", () => b.status().status === "degraded");
  // b heard them a moment ago; what happens to them now, it does not hear.
  await a.remove("drained", leaseOf("drained"));
  await a.remove("old-pod", leaseOf("old-pod"));
  await a.renew(leaseOf("new-pod"), LOAD);
  await a.renew(leaseOf("restarted", { epoch: 3000, version: "newer" }), LOAD);
  await b.renew(leaseOf("only-b"), LOAD);
  a.leases.onChange(({ before, after }) => before === null && added.push(after?.instanceId ?? ""));
  gate.set("open");
  await until("b is back", () => b.status().status === "ok");
  t.strictSame(idsOf(b), ["new-pod", "only-b", "restarted"], "the dead are gone the moment it is back");
  t.strictSame(dropped.sort(), ["drained", "old-pod"]);
  t.equal(b.leases.get("restarted")?.lease.version, "newer");
  await until("a hears of what only b heard", () => idsOf(a).includes("only-b"));
  t.strictSame(added, ["only-b"], "and of nobody else");
  t.equal(a.leases.get("restarted")?.lease.version, "newer", "an older process is not written back over a newer one");
});

t.test("a lease that is written back does not last longer than its last heartbeat gave it", { skip }, async (t) => {
  const redis = await redisOf(t);
  const gate = await startTcpGate(redis.port);
  t.teardown(() => gate.close());
  const a = await storeOf(t, redis, { leaseMs: 2000 });
  const b = await storeOf(t, { url: `redis://127.0.0.1:${gate.port}` }, { leaseMs: 2000 });
  await b.renew(leaseOf("dying"), LOAD);
  const heardAtMs = Date.now();
  await until("a knows it", () => idsOf(a).length === 1);
  gate.set("cut");
  await pause(1200);
  gate.set("open");
  await until("b is back", () => b.status().status === "ok");
  await until("it goes", () => idsOf(a).length === 0);
  t.comment(`gone ${Date.now() - heardAtMs} ms after its last heartbeat, lease 2000 ms`);
  const admin = adminOf(t, redis);
  t.equal(await textsIn(admin), 0);
});

const noFakeTime = requires("faketime");
t.test(
  "the server's clock steps an hour forward and two back: no living lease ends, no dead one stays",
  { skip: skip || noFakeTime },
  async (t) => {
    const leaseMs = 4500;
    const redis = await redisOf(t, { fakeTime: true });
    const admin = adminOf(t, redis);
    const [a, b] = [await storeOf(t, redis, { leaseMs }), await storeOf(t, redis, { leaseMs })];
    const living = ["alive-1", "alive-2", "alive-3"];
    beating(t, a, living, 400);
    await until("both know all", () => same(a, living) && same(b, living));
    const dropped = [droppedFrom(a), droppedFrom(b)];
    const serverSeconds = async () => Number((await admin.time())[0]);

    for (const [name, offset] of [
      ["forward", 3600],
      ["back", -3600],
    ] as const) {
      await a.renew(leaseOf(name), LOAD);
      await until("both know it", () => same(b, [...living, name]));
      const before = await serverSeconds();
      redis.stepClock(offset);
      t.ok(Math.abs((await serverSeconds()) - before) > 3000, `the server's clock has stepped ${name}`);
      const steppedAtMs = Date.now();
      await until("the dead one goes", () => same(a, living) && same(b, living));
      t.comment(`${name}: gone ${Date.now() - steppedAtMs} ms after the step, lease ${leaseMs} ms`);
    }
    t.strictSame(dropped, [
      ["forward", "back"],
      ["forward", "back"],
    ]);
  },
);

t.test("a step of this machine's own wall clock means nothing to leases", { skip }, async (t) => {
  const fake = createFakeClock();
  const memory = createMemoryStore({ clock: fake, leaseMs: 15_000 });
  await memory.renew(leaseOf("i1"), LOAD);
  for (const stepMs of [86_400_000, -2 * 86_400_000]) {
    fake.stepWall(stepMs);
    t.equal(await memory.sweep(), 0);
  }
  fake.advance(15_001);
  t.equal(await memory.sweep(), 1, "but time that passes does");

  const redis = await redisOf(t);
  let offsetMs = 0;
  const stepped = { ...systemClock, nowMs: () => Date.now() + offsetMs };
  const a = await storeOf(t, redis, { clock: stepped });
  const stop = beating(t, a, ["alive"]);
  await until("it is there", () => same(a, ["alive"]));
  const dropped = droppedFrom(a);
  for (offsetMs of [86_400_000, -86_400_000]) await pause(LEASE_MS * 1.2);
  t.strictSame(dropped, []);
  stop();
  await until("it ends in its time", () => idsOf(a).length === 0);
});
