import t from "tap";
import { createFakeClock } from "../support/fake-clock.ts";
import { askAddress, askService, createTestClient, eventually, heartbeatOf, startRegistryServer } from "./harness.ts";

t.test("an announced instance is found by name, and everything about it arrives", async (t) => {
  const server = await startRegistryServer();
  t.teardown(() => server.close());
  const orders = createTestClient(server, server.ca.leaf("default/orders"));
  const web = createTestClient(server, server.ca.leaf("default/web"));
  t.teardown(() => [orders.close(), web.close()]);

  const beat = orders.heartbeat();
  beat.send(heartbeatOf());
  const answer = await beat.next();
  t.match(answer, { accepted: true, reason: "", nextIntervalMs: 5000, leaseMs: 15_000, degraded: false });

  const watch = web.watch();
  watch.send(askService("orders"));
  const update = await watch.next();
  t.match(update, { key: "orders", found: true, full: true, service: "default/orders", protocol: "PROTOCOL_HTTP1", removed: [] });
  t.match(update.upserts, [
    {
      instanceId: "orders-1",
      identity: "spiffe://cluster.local/ns/default/sa/orders",
      address: "127.0.0.1",
      port: 8080,
      inboundPort: 15006,
      protocol: "PROTOCOL_HTTP1",
      version: "0.1.0",
      state: "INSTANCE_STATE_READY",
    },
  ]);
  t.equal(update.upserts[0]?.messageCertificate.toString(), "message certificate");
  t.ok(update.version > 0 && Number.isSafeInteger(update.version));

  for (const name of ["orders.default", "orders.default.svc", "ORDERS.default.svc.cluster.local."]) {
    watch.send(askService(name));
    t.match(await watch.next(), { key: name, found: true, version: update.version }, name);
  }
  for (const name of ["orders.other", "orders.default.example.com", "api.example.com"]) {
    watch.send(askService(name));
    t.match(await watch.next(), { key: name, found: false, full: true, upserts: [] }, name);
  }
  t.equal(await server.metric("remora_registry_watchers"), 1);
  t.equal(await server.metric('remora_registry_instances{state="ready"}'), 1);
});

t.test("what is not there is said to be not there, and announced when it appears", async (t) => {
  const server = await startRegistryServer();
  t.teardown(() => server.close());
  const client = createTestClient(server, server.ca.leaf("default/orders"));
  t.teardown(() => client.close());
  const watch = client.watch();
  watch.send(askService("orders", 8080));
  watch.send(askAddress("127.0.0.1", 8080));
  const nothing = await watch.next();
  t.match(nothing, { key: "orders", found: false });
  t.match(await watch.next(), { key: "127.0.0.1:8080", found: false });

  client.heartbeat().send(heartbeatOf());
  const some = await watch.until(({ key }) => key === "orders");
  t.match(some, { found: true, full: false, upserts: [{ instanceId: "orders-1" }] });
  t.ok(some.version > nothing.version, "versions grow");
  t.match(await watch.until(({ key }) => key === "127.0.0.1:8080"), { found: true, service: "", upserts: [{ port: 8080 }] });
});

t.test("changes come as deltas, and other destinations' changes do not come", async (t) => {
  const server = await startRegistryServer();
  t.teardown(() => server.close());
  const orders = createTestClient(server, server.ca.leaf("default/orders"));
  const stock = createTestClient(server, server.ca.leaf("default/stock"));
  t.teardown(() => [orders.close(), stock.close()]);
  const watch = stock.watch();
  const first = orders.heartbeat();
  first.send(heartbeatOf());
  await first.next();
  watch.send(askService("orders"));
  await watch.next();

  const other = stock.heartbeat();
  other.send(
    heartbeatOf({
      instanceId: "stock-1",
      services: ["stock"],
      inboundPort: 15007,
      ports: [{ number: 8090, protocol: "PROTOCOL_GRPC", name: "" }],
    }),
  );
  await other.next();
  const second = orders.heartbeat();
  second.send(
    heartbeatOf({ instanceId: "orders-2", inboundPort: 15008, ports: [{ number: 8081, protocol: "PROTOCOL_HTTP1", name: "http" }] }),
  );
  t.match(await watch.next(), { key: "orders", full: false, upserts: [{ instanceId: "orders-2", port: 8081 }], removed: [] });

  second.send(
    heartbeatOf({
      instanceId: "orders-2",
      inboundPort: 15008,
      ports: [{ number: 8081, protocol: "PROTOCOL_HTTP1", name: "http" }],
      state: "INSTANCE_STATE_DRAINING",
    }),
  );
  t.match(await watch.next(), { found: true, full: false, upserts: [], removed: ["orders-2:8081"] }, "a draining instance leaves at once");
  first.send(heartbeatOf({ leaving: true }));
  t.match(await watch.next(), { found: true, full: false, upserts: [], removed: ["orders-1:8080"] }, "a leaving one too");
  second.send(heartbeatOf({ instanceId: "orders-2", leaving: true, inboundPort: 15008 }));
  await eventually(() => server.store.leases.size === 1, "only stock is left");
  watch.send(askService("stock"));
  t.match(await watch.next(), { key: "stock" }, "an emptied service stays found for a while: nothing was sent in between");
});

t.test("a client that holds the newest version is told so without the endpoints", async (t) => {
  const clock = createFakeClock(Date.now());
  const server = await startRegistryServer({ clock });
  t.teardown(() => server.close());
  await clock.advanceAsync(15_000, 1000); // it knows who is there
  const client = createTestClient(server, server.ca.leaf("default/orders"));
  t.teardown(() => client.close());
  const beat = client.heartbeat();
  beat.send(heartbeatOf());
  await beat.next();
  const before = client.watch();
  before.send(askService("orders"));
  const { version } = await before.next();
  before.call.end();
  await before.ended();

  const after = client.watch();
  after.send(askService("orders", 0, version));
  t.match(await after.next(), { version, found: true, full: false, upserts: [], removed: [], service: "default/orders" });
  after.send(askService("orders", 0, version - 1));
  t.match(await after.next(), { version, full: true, upserts: [{ instanceId: "orders-1" }] });
});

t.test("a lease outlives its stream and ends when nobody renews it", async (t) => {
  const clock = createFakeClock(Date.now());
  const server = await startRegistryServer({ clock });
  t.teardown(() => server.close());
  const client = createTestClient(server, server.ca.leaf("default/orders"));
  t.teardown(() => client.close());
  const watch = client.watch();
  const beat = client.heartbeat();
  beat.send(heartbeatOf());
  await beat.next();
  watch.send(askService("orders"));
  t.match(await watch.next(), { found: true });
  beat.call.end();
  await beat.ended();

  await clock.advanceAsync(14_000, 500);
  t.equal(server.store.leases.size, 1, "after 14 of 15 s");
  await clock.advanceAsync(3000, 500);
  t.equal(server.store.leases.size, 0, "after 17 s");
  t.match(await watch.next(), { found: true, removed: ["orders-1:8080"] });
  await clock.advanceAsync(62_000, 1000);
  t.match(await watch.next(), { found: false }, "a service without instances is held for a minute, then it is gone");
  t.equal(await server.metric("remora_registry_expired_total"), 1);
  t.ok((await server.metric("remora_registry_sweeps_total")) > 10);
});

t.test("callers without an acceptable certificate are refused with the reason", async (t) => {
  const server = await startRegistryServer();
  t.teardown(() => server.close());
  const refused = async (name: string, leaf: Parameters<typeof createTestClient>[1]) => {
    const client = createTestClient(server, leaf);
    t.teardown(() => client.close());
    for (const stream of [client.heartbeat(), client.watch()]) {
      const { code, details } = await stream.ended();
      t.equal(code, 16, `${name}: ${details}`);
      t.ok(details.length > 10);
    }
  };
  await refused("none", null);
  for (const kind of ["two-san", "missing-san", "ca-leaf", "foreign", "wrong-usage", "wrong-trust-domain"] as const) {
    await refused(kind, server.ca.badLeaf(kind, "default/orders"));
  }
  t.equal(server.store.leases.size, 0);
  t.ok((await server.metric('remora_registry_refused_total{reason="unauthenticated"}')) >= 14);
});

t.test("a wall clock that steps an hour back refuses no new connection of a live instance and ends no lease", async (t) => {
  const clock = createFakeClock(Date.now());
  const server = await startRegistryServer({ clock });
  t.teardown(() => server.close());
  clock.stepWall(-3_600_000);
  for (let renewal = 0; renewal < 3; renewal += 1) {
    // As sidecars do that renewed their certificates: a new one, over a new connection.
    const client = createTestClient(server, server.ca.leaf("default/orders"));
    t.teardown(() => client.close());
    const beat = client.heartbeat();
    beat.send(heartbeatOf());
    t.match(await beat.next(), { accepted: true });
    await clock.advanceAsync(10_000, 500);
    t.equal(server.store.leases.size, 1);
  }
});

t.test("an announcement that the identity may not make is refused, counted, and leaves no trace", async (t) => {
  const server = await startRegistryServer();
  t.teardown(() => server.close());
  const orders = createTestClient(server, server.ca.leaf("default/orders"));
  const thief = createTestClient(server, server.ca.leaf("default/thief"));
  t.teardown(() => [orders.close(), thief.close()]);
  const good = orders.heartbeat();
  good.send(heartbeatOf());
  t.match(await good.next(), { accepted: true });

  const tries = [
    ["a service of someone else", heartbeatOf({ instanceId: "t-1", services: ["orders"], inboundPort: 1, ports: [] }), "forbidden"],
    ["an address that is not its own", heartbeatOf({ instanceId: "t-2", services: ["thief"], addresses: ["10.1.2.3"] }), "forbidden"],
    ["a second, foreign address", heartbeatOf({ instanceId: "t-3", services: [], addresses: ["127.0.0.1", "8.8.8.8"] }), "forbidden"],
    ["the instance of someone else", heartbeatOf({ services: ["thief"], inboundPort: 1, ports: [], epoch: 2000 }), "forbidden"],
    ["the port of someone else", heartbeatOf({ instanceId: "t-4", services: ["thief"], inboundPort: 9 }), "forbidden"],
    ["the end of someone else", heartbeatOf({ leaving: true, epoch: 5000 }), "forbidden"],
    ["nonsense", heartbeatOf({ instanceId: "t-5", addresses: ["orders.example"] }), "bad_request"],
  ] as const;
  for (const [what, message, reason] of tries) {
    const stream = thief.heartbeat();
    stream.send(message);
    t.match(await stream.next(), { accepted: false, reason, nextIntervalMs: 5000 }, what);
    stream.call.end();
  }
  t.equal(server.store.leases.size, 1);
  t.equal(await server.metric('remora_registry_refused_total{reason="forbidden"}'), 6);
  t.equal(await server.metric('remora_registry_refused_total{reason="bad_request"}'), 1);
});

t.test("an older process cannot take an instance back, a newer one takes its place", async (t) => {
  const server = await startRegistryServer();
  t.teardown(() => server.close());
  const client = createTestClient(server, server.ca.leaf("default/orders"));
  t.teardown(() => client.close());
  const announce = async (changes: Parameters<typeof heartbeatOf>[0]) => {
    const stream = client.heartbeat();
    stream.send(heartbeatOf(changes));
    const answer = await stream.next();
    stream.call.end();
    return answer;
  };
  t.match(await announce({ epoch: 2000 }), { accepted: true });
  t.match(await announce({ epoch: 1000 }), { accepted: false, reason: "forbidden", message: /newer process/ });
  t.match(await announce({ epoch: 1000, leaving: true }), { accepted: false, reason: "forbidden" });
  t.match(await announce({ instanceId: "orders-2", epoch: 3000 }), { accepted: true }, "same place, later start");
  t.strictSame(
    [...server.store.leases.all()].map(({ lease }) => lease.instanceId),
    ["orders-2"],
  );
});

t.test("a stream that floods, changes its instance or asks nonsense is stopped, others are not", async (t) => {
  const server = await startRegistryServer();
  t.teardown(() => server.close());
  const client = createTestClient(server, server.ca.leaf("default/orders"));
  t.teardown(() => client.close());
  const quiet = client.watch();
  quiet.send(askService("orders"));
  await quiet.next();

  const changing = client.heartbeat();
  changing.send(heartbeatOf());
  await changing.next();
  changing.send(heartbeatOf({ instanceId: "orders-9", inboundPort: 9, ports: [] }));
  t.match(await changing.next(), { accepted: false, reason: "bad_request" });

  const flooding = client.heartbeat();
  for (let i = 0; i < 60; i += 1) flooding.send(heartbeatOf());
  t.match(await flooding.ended(), { code: 8 });

  for (const request of [
    { key: "", unsubscribe: false, knownVersion: 0 },
    { key: "k", unsubscribe: false, knownVersion: 0 },
    askService("a b"),
    askService("x".repeat(300)),
    askAddress("nowhere", 80),
    askAddress("127.0.0.1", 70_000),
  ]) {
    const stream = client.watch();
    stream.send(request);
    t.match(await stream.ended(), { code: 3 }, JSON.stringify(request).slice(0, 60));
  }
  const greedy = client.watch();
  for (let i = 0; i <= 1024; i += 1) greedy.send(askService(`s${i}`));
  t.match(await greedy.ended(), { code: 8 });
  await eventually(async () => (await server.metric("remora_registry_subscriptions")) === 1, "the ended streams' subscriptions are gone");
  quiet.send(askService("web"));
  t.match(await quiet.until(({ key }) => key === "web"), { found: false });
});

t.test("a reader that is slow gets the newest state, not every step on the way", async (t) => {
  const server = await startRegistryServer();
  t.teardown(() => server.close());
  const client = createTestClient(server, server.ca.leaf("default/orders"));
  t.teardown(() => client.close());
  const watch = client.watch();
  watch.call.pause();
  watch.send(askService("orders"));
  const beat = client.heartbeat();
  const big = Buffer.alloc(4000, 1);
  const store = server.store;
  beat.send(heartbeatOf({ messageCertificate: big }));
  await beat.next();
  const held = store.leases.get("orders-1");
  t.ok(held);
  for (let step = 0; step < 300 && held !== undefined; step += 1) {
    for (let n = 0; n < 20; n += 1) {
      const lease = { ...held.lease, instanceId: `orders-${n + 2}`, epoch: step, messageCertificate: Buffer.alloc(4000, step) };
      await store.renew(lease, { inFlight: 0, rps: 0, p99Ms: 0, errorRatio: 0, requests: 0, errors: 0, refused: 0 });
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  let seen = 0;
  watch.call.on("data", () => {
    seen += 1;
  });
  watch.call.resume();
  const end = await watch.until(({ upserts }) => upserts.some((endpoint) => endpoint.messageCertificate[0] === 299 % 256));
  t.ok(end);
  t.ok((await server.metric('remora_registry_updates_total{kind="full"}')) >= 1);
  t.comment(`${seen} updates`);
});

t.test(
  "a registry that starts empty tells nobody who holds an answer that there is nothing, until all could announce themselves again",
  async (t) => {
    const clock = createFakeClock(Date.now());
    const server = await startRegistryServer({ clock });
    t.teardown(() => server.close());
    const client = createTestClient(server, server.ca.leaf("default/orders"));
    t.teardown(() => client.close());
    const watch = client.watch();
    watch.send(askService("gone", 0, 12_345));
    watch.send(askService("orders", 0, 12_345));
    watch.send(askService("new"));
    t.match(await watch.next(), { key: "new", found: false }, "who holds nothing is answered at once");
    const beat = client.heartbeat();
    beat.send(heartbeatOf());
    await beat.next();
    await clock.advanceAsync(100, 20);
    t.match(
      await watch.next(),
      { key: "orders", found: true, full: false, upserts: [{ instanceId: "orders-1" }], removed: [] },
      "who announces itself is added to what is held",
    );
    await clock.advanceAsync(14_800, 200);
    beat.send(heartbeatOf());
    await beat.next();
    await clock.advanceAsync(200, 20);
    const truth = [await watch.next(), await watch.next()];
    t.match(
      truth,
      [
        { key: "gone", found: false, full: true },
        { key: "orders", full: true, upserts: [{ instanceId: "orders-1" }] },
      ],
      "after a lease time the truth is told",
    );
  },
);

t.test("no lease ends before a lease time in which the registry could be reached", async (t) => {
  const clock = createFakeClock(Date.now());
  const server = await startRegistryServer({ clock, begins: false });
  t.teardown(() => server.close());
  const client = createTestClient(server, server.ca.leaf("default/orders"));
  t.teardown(() => client.close());
  const beat = client.heartbeat();
  beat.send(heartbeatOf());
  await beat.next();
  await clock.advanceAsync(60_000, 1_000);
  t.equal(server.store.leases.size, 1, "nobody could have renewed it");
  server.registry.begin();
  await clock.advanceAsync(14_000, 500);
  t.equal(server.store.leases.size, 1, "it may still be renewed");
  await clock.advanceAsync(3_000, 500);
  t.equal(server.store.leases.size, 0);
});

t.test("a registry that was long in coming learns who is there from when it can be reached", async (t) => {
  const clock = createFakeClock(Date.now());
  const server = await startRegistryServer({ clock, begins: false });
  t.teardown(() => server.close());
  await clock.advanceAsync(60_000, 1_000);
  server.registry.begin();
  const client = createTestClient(server, server.ca.leaf("default/orders"));
  t.teardown(() => client.close());
  const watch = client.watch();
  watch.send(askService("orders", 0, 12_345));
  watch.send(askService("new"));
  t.match(await watch.next(), { key: "new", found: false }, "who holds an answer keeps it");
  await clock.advanceAsync(15_000, 500);
  t.match(await watch.next(), { key: "orders", found: false, full: true });
});

t.test("while a registry learns who is there, callers lose only whom it knows to be gone", async (t) => {
  const clock = createFakeClock(Date.now());
  const server = await startRegistryServer({ clock });
  t.teardown(() => server.close());
  const client = createTestClient(server, server.ca.leaf("default/orders"));
  t.teardown(() => client.close());
  const watch = client.watch();
  watch.send(askService("orders", 0, 12_345));
  const instances = [1, 2, 3].map(
    (n) =>
      ({
        instanceId: `orders-${n}`,
        inboundPort: 15_000 + n,
        ports: [{ number: 8080 + n, protocol: "PROTOCOL_HTTP1", name: "" }],
      }) as const,
  );
  const beats = instances.map((instance) => ({ beat: client.heartbeat(), instance }));
  for (const { beat, instance } of beats) {
    beat.send(heartbeatOf(instance));
    await beat.next();
  }
  await clock.advanceAsync(200, 20);
  const ids = ({ upserts }: { readonly upserts: readonly { readonly instanceId: string }[] }) =>
    upserts.map(({ instanceId }) => instanceId);
  const added = await watch.until(({ upserts }) => upserts.length === 3);
  t.notOk(added.full);
  beats[2]?.beat.send(heartbeatOf({ ...instances[2], leaving: true }));
  await beats[2]?.beat.next();
  await clock.advanceAsync(200, 20);
  const left = await watch.next();
  t.match(left, { full: false, removed: ["orders-3:8083"] });

  const again = client.watch();
  again.send(askService("orders", 0, left.version));
  t.match(
    await again.next(),
    { full: false, upserts: [{}, {}] },
    "who comes back with part of an answer is told no more than that it may hold more",
  );
  await clock.advanceAsync(15_000, 500);
  for (const stream of [watch, again]) {
    const whole = await stream.until(({ full }) => full);
    t.ok(whole.version > left.version);
    t.strictSame(ids(whole), ["orders-1", "orders-2"], "after a lease time that is all");
  }
});
