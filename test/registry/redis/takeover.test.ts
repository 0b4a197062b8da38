// A restarted pod at the address of the one before, and somebody else at it, on two replicas of the registry on one Redis.
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { systemClock } from "../../../core/clock.ts";
import { requires } from "../../support/requires.ts";
import { askService, createTestClient, heartbeatOf, startRegistryServer } from "../harness.ts";
import { idsOf, redisOf, storeOf, until } from "./stores.ts";

const skip = requires("redis-server", "setpriv");
t.setTimeout(300_000);

t.test("a pod that took over an address is not confused with the one before, on any replica", { skip }, async (t) => {
  const redis = await redisOf(t);
  const leaseMs = 4000;
  const storeA = await storeOf(t, redis, { leaseMs });
  const storeB = await storeOf(t, redis, { leaseMs });
  const a = await startRegistryServer({ store: storeA, clock: systemClock, leaseMs });
  t.teardown(() => a.close());
  const b = await startRegistryServer({ store: storeB, clock: systemClock, leaseMs, ca: a.ca });
  t.teardown(() => b.close());
  const clientOf = (server: typeof a, account: string) => {
    const client = createTestClient(server, a.ca.leaf(account));
    t.teardown(() => client.close());
    return client;
  };
  const old = heartbeatOf({ instanceId: "pod-old", epoch: 1000, inboundPort: 0, addresses: ["127.0.0.1"] });
  const restarted = { ...old, instanceId: "pod-new", epoch: 2000 };
  const watched: string[][] = [];
  const watch = clientOf(b, "default/web").watch();
  const view = new Set<string>();
  watch.call.on("data", (update: { full: boolean; upserts: readonly { instanceId: string }[]; removed: readonly string[] }) => {
    if (update.full) view.clear();
    for (const id of update.removed) view.delete(id.split(":")[0] ?? "");
    for (const { instanceId } of update.upserts) view.add(instanceId);
    watched.push([...view].sort());
  });
  watch.send(askService("orders"));

  const before = clientOf(a, "default/orders").heartbeat();
  before.send(old);
  t.match(await before.next(), { accepted: true });
  await until("the watcher has it", () => view.has("pod-old"));
  const after = clientOf(b, "default/orders").heartbeat();
  after.send(restarted);
  t.match(await after.next(), { accepted: true });
  await until("the watcher has the new one alone", () => [...view].join() === "pod-new");
  await until("so has the other replica", () => idsOf(storeA).join() === "pod-new");

  before.send(old);
  t.match(
    await before.next(),
    { accepted: false, reason: "forbidden", message: /newer instance/ },
    "a late heartbeat of the old one brings it not back",
  );
  const thief = clientOf(a, "default/stock").heartbeat();
  thief.send({ ...old, instanceId: "thief", epoch: 9000, services: ["stock"] });
  t.match(
    await thief.next(),
    { accepted: false, reason: "forbidden", message: /another identity/ },
    "nor may another identity have the address yet",
  );
  await sleep(300);
  t.strictSame(watched.at(-1), ["pod-new"]);
  t.notOk(
    watched.slice(1).some((ids, at) => ids.includes("pod-old") && (watched[at] ?? []).includes("pod-new")),
    "the old one never came back",
  );

  await until("the lease ends when nobody renews it", () => idsOf(storeA).length + idsOf(storeB).length === 0);
  thief.send({ ...old, instanceId: "next-tenant", epoch: 9001, services: ["stock"] });
  t.match(await thief.next(), { accepted: true }, "then the address is free");
});
