import t from "tap";
import { Redis } from "ioredis";
import type { Clock } from "../../../core/clock.ts";
import { systemClock } from "../../../core/clock.ts";
import { silentLogger } from "../../../core/log.ts";
import { Secret } from "../../../core/secret.ts";
import { startRedisStore } from "../../../registry/redis/store.ts";
import { requires } from "../../support/requires.ts";
import { askService, createTestClient, eventually, heartbeatOf, startRegistryServer } from "../harness.ts";
import { beating, idsOf, LEASE_MS, leaseOf, LOAD, ORDERS, redisOf, STOCK, storeOf } from "./stores.ts";

const skip = requires("redis-server", "openssl", "setpriv");

t.test("what one replica hears, all know; what ends, ends for all", { skip }, async (t) => {
  const redis = await redisOf(t);
  const [a, b] = [await storeOf(t, redis), await storeOf(t, redis)];
  const stop = beating(t, a, ["i1", "i2"]);
  await eventually(() => idsOf(b).length === 2, "b knows both");
  await a.renew(leaseOf("i1", { state: "draining" }), LOAD);
  await eventually(() => b.leases.get("i1")?.lease.state === "draining", "a change arrives");
  stop();
  await a.remove("i1", leaseOf("i1"));
  await eventually(() => idsOf(b).join() === "i2", "a removal arrives");
  await eventually(() => idsOf(a).length + idsOf(b).length === 0, "what nobody renews expires everywhere");

  const c = await storeOf(t, redis);
  await b.renew(leaseOf("i3"), LOAD);
  const d = await storeOf(t, redis);
  t.strictSame(idsOf(d), ["i3"], "a new replica knows all from the start");
  await eventually(() => idsOf(c).join() === "i3", "and a running one soon");
});

t.test("who owns an instance is decided by Redis, for all replicas", { skip }, async (t) => {
  const redis = await redisOf(t);
  const [a, b] = [await storeOf(t, redis), await storeOf(t, redis)];
  await a.renew(leaseOf("i1", { epoch: 5 }), LOAD);
  await t.rejects(b.renew(leaseOf("i1", { epoch: 9 }, STOCK), LOAD), { code: "forbidden", message: /another identity/ });
  await t.rejects(b.renew(leaseOf("i1", { epoch: 4 }), LOAD), { code: "forbidden", message: /newer process/ });
  await t.rejects(b.remove("i1", { identity: STOCK, epoch: 9 }), { code: "forbidden" });
  await t.rejects(b.remove("i1", { identity: ORDERS, epoch: 4 }), { code: "forbidden" });
  await b.renew(leaseOf("i1", { epoch: 6 }), LOAD);
  await eventually(() => a.leases.get("i1")?.lease.epoch === 6, "the newer process takes over");
});

t.test(
  "Redis killed: served and accepted from memory; back and empty: everything is there again, nothing was dropped",
  { skip },
  async (t) => {
    const redis = await redisOf(t);
    const statuses: string[] = [];
    const a = await storeOf(t, redis, { onStatus: ({ status }) => statuses.push(status) });
    const b = await storeOf(t, redis);
    beating(t, a, ["i1"]);
    beating(t, b, ["i2"]);
    await eventually(() => idsOf(a).length === 2 && idsOf(b).length === 2, "both know both");
    const dropped: string[] = [];
    for (const store of [a, b]) store.leases.onChange(({ after, before }) => after === null && dropped.push(before?.instanceId ?? ""));

    await redis.kill();
    await eventually(() => a.status().status === "degraded" && b.status().status === "degraded", "both notice");
    await a.renew(leaseOf("i3"), LOAD);
    await b.renew(leaseOf("i4"), LOAD);
    await b.remove("i4", leaseOf("i4"));
    beating(t, a, ["i3"]);
    await t.rejects(a.renew(leaseOf("i1", { epoch: 9999 }, STOCK), LOAD), { code: "forbidden" }, "ownership holds in memory too");
    await new Promise((resolve) => setTimeout(resolve, LEASE_MS));
    t.strictSame(idsOf(a), ["i1", "i2", "i3"], "after more than a lease time away");
    t.strictSame(idsOf(b), ["i1", "i2"]);

    await redis.start();
    await eventually(() => a.status().status === "ok" && b.status().status === "ok", "both are back");
    await eventually(() => idsOf(b).join() === "i1,i2,i3", "what a heard alone reaches b");
    await new Promise((resolve) => setTimeout(resolve, LEASE_MS * 1.5));
    t.strictSame(idsOf(a), ["i1", "i2", "i3"]);
    t.strictSame(idsOf(b), ["i1", "i2", "i3"]);
    t.strictSame(dropped, ["i4"], "only the one that left");
    t.strictSame(statuses, ["degraded", "ok"]);
  },
);

t.test("an instance that died while Redis was away goes, a lease time after it is back", { skip }, async (t) => {
  const redis = await redisOf(t, { persistent: true });
  const [a, b] = [await storeOf(t, redis), await storeOf(t, redis)];
  const stop = beating(t, a, ["dead"]);
  beating(t, b, ["alive"]);
  await eventually(() => idsOf(a).length === 2 && idsOf(b).length === 2, "both know both");
  await redis.kill();
  stop();
  await new Promise((resolve) => setTimeout(resolve, 300));
  await redis.start();
  await eventually(() => a.status().status === "ok" && b.status().status === "ok", "both are back");
  await eventually(() => idsOf(a).join() === "alive" && idsOf(b).join() === "alive", "the dead one is gone, the living one is there");
});

t.test("a replica that missed more changes than are kept reads everything again", { skip }, async (t) => {
  const redis = await redisOf(t);
  const [a, b] = [await storeOf(t, redis, { maxChanges: 5 }), await storeOf(t, redis)];
  await a.renew(leaseOf("i1"), LOAD);
  await eventually(() => idsOf(b).length === 1, "b follows");
  const admin = new Redis(redis.url);
  t.teardown(() => admin.disconnect());
  const streams = await admin.keys("remora:*:changes");
  const states = await admin.keys("remora:*:state");
  const used = streams.filter((key) => !key.includes("probe"));
  t.equal(used.length, 1, "one shard is used");
  const shardTag = /\{.*\}/.exec(used[0] ?? "")?.[0] ?? "";
  await admin.hincrby(states.find((key) => key.includes(shardTag)) ?? "", "sequence", 40);
  await a.renew(leaseOf("i1", { version: "after the gap" }), LOAD);
  await eventually(() => b.leases.get("i1")?.lease.version === "after the gap", "b is in step");
  const many = Array.from({ length: 200 }, (_, n) => leaseOf(`many-${n}`, { addresses: [`10.0.0.${n + 1}`] }));
  await Promise.all(many.map((lease) => a.renew(lease, LOAD)));
  await eventually(() => idsOf(b).length >= 200, "b has all");
  for (const stream of await admin.keys("remora:*:changes")) t.ok((await admin.xlen(stream)) < 150, "the stream is bounded");
});

t.test("names that would mean something elsewhere mean nothing here, and foreign bytes in Redis are ignored", { skip }, async (t) => {
  const redis = await redisOf(t);
  const a = await storeOf(t, redis);
  for (const id of ["constructor", "toString", "hasOwnProperty", "a.b-c_d"]) await a.renew(leaseOf(id), LOAD);
  await eventually(() => idsOf(a).length === 4, "all are there");
  const admin = new Redis(redis.url);
  t.teardown(() => admin.disconnect());
  for (let shard = 0; shard < 16; shard += 1) {
    const key = (part: string) => `remora:{remora-${shard}}:${part}`;
    await admin.hset(key("leases"), "__proto__", '{"identity":"spiffe://cluster.local/ns/default/sa/x","polluted":true}');
    await admin.hset(key("leases"), "x", "no json");
    await admin.xadd(
      key("changes"),
      "*",
      "seq",
      String(await admin.hincrby(key("state"), "sequence", 1)),
      "op",
      "set",
      "id",
      "__proto__",
      "lease",
      "{}",
    );
  }
  const b = await storeOf(t, redis);
  t.strictSame(idsOf(b), ["a.b-c_d", "constructor", "hasOwnProperty", "toString"]);
  await a.renew(leaseOf("after"), LOAD);
  await eventually(() => idsOf(b).includes("after") && idsOf(a).includes("after"), "both go on");
  t.equal(({} as Record<string, unknown>)["polluted"], undefined);
});

t.test("with a password and TLS; a wrong one, none, and no server are clear errors without the password", { skip }, async (t) => {
  const redis = await redisOf(t, { password: "s3cr&t/:@", tls: true });
  const a = await storeOf(t, redis);
  await a.renew(leaseOf("i1"), LOAD);
  await eventually(() => idsOf(a).length === 1, "works");

  const refused = async (url: string, caPem: string | null, expected: RegExp) => {
    const options = {
      url: new Secret(url),
      clock: systemClock,
      random: Math.random,
      log: silentLogger(),
      ...(caPem === null ? {} : { tls: { caPem } }),
    };
    const error = await startRedisStore(options).then(
      () => null,
      (cause: unknown) => cause as Error & { code: string },
    );
    t.match(error?.message, expected);
    t.match(error?.message, /^(Redis at rediss?:\/\/127\.0\.0\.1:\d+\/0 is needed in cluster mode|the Redis URL)/);
    t.notMatch(error?.message, /s3cr|wrong-one/);
  };
  await refused(`rediss://:wrong-one@127.0.0.1:${redis.port}`, redis.caPem, /WRONGPASS/);
  await refused(`rediss://127.0.0.1:${redis.port}`, redis.caPem, /NOAUTH/);
  await refused(redis.url, null, /self-signed certificate/);
  await refused(`redis://:s3cret@127.0.0.1:1`, null, /ECONNREFUSED/);
  await refused("http://127.0.0.1:1", null, /redis:\/\/HOST/);
  await refused("s3cr nonsense", null, /no URL/);
});

t.test("sidecars of two replicas see each other, and answers say when the store is away", { skip }, async (t) => {
  const redis = await redisOf(t);
  const clock: Clock = systemClock;
  const [storeA, storeB] = [await storeOf(t, redis), await storeOf(t, redis)];
  const a = await startRegistryServer({ store: storeA, clock, leaseMs: LEASE_MS });
  t.teardown(() => a.close());
  const b = await startRegistryServer({ store: storeB, clock, leaseMs: LEASE_MS, ca: a.ca });
  t.teardown(() => b.close());
  const orders = createTestClient(a, a.ca.leaf("default/orders"));
  const web = createTestClient(b, a.ca.leaf("default/web"));
  t.teardown(() => [orders.close(), web.close()]);

  const watch = web.watch();
  watch.send(askService("orders"));
  t.match(await watch.next(), { found: false });
  const beat = orders.heartbeat();
  beat.send(heartbeatOf());
  t.match(await beat.next(), { accepted: true, degraded: false });
  t.match(await watch.next(), { found: true, upserts: [{ instanceId: "orders-1" }] });

  await redis.kill();
  await eventually(() => storeA.status().status === "degraded", "a notices");
  beat.send(heartbeatOf());
  t.match(await beat.next(), { accepted: true, degraded: true });
  t.match(a.registry.health(), { status: "degraded", message: /redis/ });
  const other = web.watch();
  other.send(askService("orders"));
  t.match(await other.next(), { found: true, upserts: [{ instanceId: "orders-1" }] });
});
