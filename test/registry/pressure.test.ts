import t from "tap";
import { createMemoryStore } from "../../registry/memory-store.ts";
import { createPressure, MOST_INTERVAL_MS } from "../../registry/pressure.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { parseAnnouncement } from "../../registry/announcement.ts";
import { createThrowawayCa } from "../support/throwaway-ca.ts";
import { createTestClient, eventually, heartbeatOf, startRegistryServer } from "./harness.ts";

const USUAL = { intervalMs: 5000, leaseMs: 15_000 };

function start(usual = USUAL) {
  const clock = createFakeClock();
  const load = { busy: 0 };
  const pressure = createPressure({ usual, utilization: () => load.busy, clock });
  const pass = (seconds: number) => {
    for (let second = 0; second < seconds; second += 1) clock.advance(1000);
  };
  return { clock, load, pressure, pass };
}

t.test("a busy process asks for fewer heartbeats, by steps and up to a bound, with leases that last three of them", async (t) => {
  const { load, pressure, pass } = start();
  pass(60);
  t.equal(pressure.terms, USUAL);
  t.equal(pressure.since, null);
  load.busy = 0.95;
  pass(4);
  t.equal(pressure.terms, USUAL, "a moment of work is no pressure");
  pass(1);
  t.same(pressure.terms, { intervalMs: 7500, leaseMs: 22_500 });
  pass(4);
  t.same(pressure.terms.intervalMs, 7500, "sidecars have to hear of it first");
  pass(100);
  t.same(pressure.terms, { intervalMs: MOST_INTERVAL_MS, leaseMs: 3 * MOST_INTERVAL_MS });
  t.not(pressure.since, null);
});

t.test("it goes back by steps when there was room for a while, and not for a moment's rest", async (t) => {
  const { load, pressure, pass } = start();
  load.busy = 1;
  pass(6);
  const widened = pressure.terms.intervalMs;
  t.ok(widened > 5000);
  for (let round = 0; round < 5; round += 1) {
    load.busy = 0.3;
    pass(15);
    load.busy = 0.6;
    pass(1);
  }
  t.equal(pressure.terms.intervalMs, widened, "neither busy nor idle for long");
  load.busy = 0.3;
  pass(200);
  t.equal(pressure.terms, USUAL);
  t.equal(pressure.since, null);
});

t.test("an interval that is configured longer stays, and its lease keeps its proportion", async (t) => {
  const { load, pressure, pass } = start({ intervalMs: 60_000, leaseMs: 300_000 });
  load.busy = 1;
  pass(100);
  t.same(pressure.terms, { intervalMs: 60_000, leaseMs: 300_000 });
});

t.test("leases in memory last as long as each was given", async (t) => {
  const clock = createFakeClock();
  const store = createMemoryStore({ clock, leaseMs: 15_000 });
  const identity = createThrowawayCa().id("shop/orders");
  const leaseOf = (instanceId: string) => parseAnnouncement(heartbeatOf({ instanceId }), identity);
  for (const [id, lastsMs] of [
    ["short", undefined],
    ["long", 22_500],
  ] as const) {
    const { lease, load } = leaseOf(id);
    await store.renew(lease, load, lastsMs);
  }
  clock.advance(15_001);
  t.equal(await store.sweep(), 1);
  t.ok(store.leases.get("long"));
  clock.advance(7500);
  t.equal(await store.sweep(), 1);
});

t.test("a sidecar is told of it with its next heartbeat, and health says so", async (t) => {
  const load = { busy: 0 };
  const server = await startRegistryServer({ heartbeatIntervalMs: 5000, leaseMs: 15_000, utilization: () => load.busy });
  t.teardown(() => server.close());
  const client = createTestClient(server, server.ca.leaf("shop/orders"));
  t.teardown(() => client.close());
  const stream = client.heartbeat();
  stream.send(heartbeatOf());
  t.match(await stream.next(), { accepted: true, nextIntervalMs: 5000, leaseMs: 15_000 });
  load.busy = 1;
  for (let look = 0; look < 3 && server.registry.health().status === "ok"; look += 1)
    await eventually(() => server.registry.health().status === "degraded", "the registry says that it is short of CPU").catch(() => {});
  stream.send(heartbeatOf());
  t.match(await stream.next(), { accepted: true, nextIntervalMs: 7500, leaseMs: 22_500 });
  t.match(server.registry.health(), { message: /short of CPU: heartbeats each 7.5 s/ });
});
