import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Test } from "tap";
import t from "tap";
import type { Clock } from "../../../core/clock.ts";
import { systemClock } from "../../../core/clock.ts";
import { silentLogger } from "../../../core/log.ts";
import { createMetrics } from "../../../core/metrics.ts";
import type { DestinationView, Discovery } from "../../../sidecar/discovery/discovery.ts";
import { destinationKey } from "../../../sidecar/discovery/discovery.ts";
import type { DiscoveryOptions } from "../../../sidecar/discovery/start-discovery.ts";
import { startDiscovery } from "../../../sidecar/discovery/start-discovery.ts";
import type { RegistryServer } from "../../registry/harness.ts";
import { eventually, startRegistryServer } from "../../registry/harness.ts";
import type { ThrowawayCa } from "../../support/throwaway-ca.ts";
import { createStaticIdentity, createThrowawayCa } from "../../support/throwaway-ca.ts";

// The sidecar's own timers keep no process alive; its listeners do, which are not here.
const alive = setInterval(() => {}, 1000);
t.teardown(() => clearInterval(alive));

const ORDERS = { kind: "service", name: "orders", port: 0 } as const;

interface Sidecar {
  readonly discovery: Discovery;
  readonly renew: () => void;
  metric(line: string): Promise<number>;
}

async function startSidecar(
  t: Test,
  name: string,
  to: { readonly address: string; readonly ca: ThrowawayCa },
  changes: Partial<DiscoveryOptions> = {},
): Promise<Sidecar> {
  const identity = createStaticIdentity(to.ca, `default/${name}`, { controlAddress: to.address });
  const metrics = createMetrics({ component: "sidecar", version: "0.0.0", commit: "test" });
  const port = 10_000 + ([...name].reduce((sum, letter) => sum * 7 + letter.charCodeAt(0), 0) % 20_000);
  const discovery = await startDiscovery({
    identity: withServerName(identity),
    self: {
      instanceId: `${name}-1`,
      epoch: Date.now(),
      services: [name],
      addresses: ["127.0.0.1"],
      ports: [{ number: port, protocol: "http1", name: "http" }],
      inboundPort: port + 1,
      version: "0.1.0",
      channel: "stable",
    },
    load: () => ({ inFlight: 0, rps: 1.5, p99Ms: 2, errorRatio: 0, requests: 3, errors: 0, refused: 0 }),
    stateDir: null,
    clock: systemClock,
    random: Math.random,
    log: silentLogger(),
    metrics,
    lookupTimeoutMs: 300,
    ...changes,
  });
  t.teardown(() => discovery.close());
  const metric = async (line: string) => {
    const text = await metrics.registry.metrics();
    return Number(
      text
        .split("\n")
        .find((candidate) => candidate.startsWith(`${line} `))
        ?.slice(line.length + 1) ?? 0,
    );
  };
  return { discovery, renew: () => identity.renew(), metric };
}

type Identity = ReturnType<typeof createStaticIdentity>;

/** Node refuses an IP address as TLS server name; the real channel names the control plane's service. */
function withServerName(identity: Identity): Identity {
  return {
    ...identity,
    current: () => identity.current(),
    grpcChannel() {
      const channel = identity.grpcChannel();
      return { ...channel, options: { ...channel.options, "grpc.ssl_target_name_override": "localhost" } };
    },
  };
}

function lookup(discovery: Discovery, destination: Parameters<Discovery["lookup"]>[0]): Promise<DestinationView | null> {
  return new Promise((resolve) => discovery.lookup(destination, resolve));
}

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), "remora-discovery-"));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function ids(view: DestinationView | null): string[] | null {
  return view?.endpoints.map((endpoint) => endpoint.instanceId) ?? null;
}

async function registryOf(t: Test, options: Parameters<typeof startRegistryServer>[0] = {}): Promise<RegistryServer> {
  const server = await startRegistryServer({ heartbeatIntervalMs: 200, leaseMs: 1000, ...options });
  t.teardown(() => server.close().catch(() => {}));
  return server;
}

/** A way to `port` whose open connections can be silenced, as by a middlebox that forgets them: nothing passes any more, and nobody is told. */
async function startSilencer(t: Test, port: number): Promise<{ readonly port: number; silence(): void; connections(): number }> {
  const open = new Set<Socket>();
  let connections = 0;
  const server = createServer((client) => {
    connections += 1;
    const upstream = connect(port, "127.0.0.1");
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(one);
      one.on("error", () => {});
      one.on("data", (bytes) => other.write(bytes));
      one.on("close", () => other.destroy());
    }
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  t.teardown(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    silence() {
      for (const socket of open) socket.removeAllListeners("data").removeAllListeners("close").pause();
    },
    connections: () => connections,
  };
}

t.test("two sidecars find each other, with everything that a caller needs", async (t) => {
  const server = await registryOf(t);
  const orders = await startSidecar(t, "orders", server);
  const web = await startSidecar(t, "web", server);
  orders.discovery.setState("ready");
  await eventually(async () => ids(await lookup(web.discovery, ORDERS))?.length === 1, "orders is found");

  const view = await lookup(web.discovery, ORDERS);
  t.match(view, { key: "service/orders/0", service: "default/orders", protocol: "http1" });
  t.match(view?.endpoints, [
    { id: /^orders-1:\d+$/, identity: "spiffe://cluster.local/ns/default/sa/orders", address: "127.0.0.1", state: "ready" },
  ]);
  t.ok(Buffer.isBuffer(view?.endpoints[0]?.messageCertificate));
  t.equal(web.discovery.peek(destinationKey(ORDERS)), view, "the same reference until something changes");
  let later = true;
  web.discovery.lookup(ORDERS, () => (later = false));
  t.notOk(later, "a known destination is answered synchronously");

  const port = view?.endpoints[0]?.port ?? 0;
  // A first lookup waits for the registry no longer than a request could.
  const byAddress = async () => ids(await lookup(web.discovery, { kind: "address", address: "127.0.0.1", port }));
  await eventually(async () => (await byAddress()) !== null, "found by its address too");
  t.strictSame(await byAddress(), ["orders-1"], "by address");
  t.equal(await lookup(web.discovery, { kind: "service", name: "nobody", port: 80 }), null);
  for (const name of ["", "a b", "x".repeat(400), "..", "__proto__", "héllo"]) {
    t.equal(await lookup(web.discovery, { kind: "service", name, port: 0 }), null, JSON.stringify(name.slice(0, 20)));
  }
  t.equal(await lookup(web.discovery, { kind: "address", address: "nowhere", port: 1 }), null);
  await eventually(() => web.discovery.heartbeatAgeMs() < 1000, "a fresh heartbeat");
  await eventually(async () => (await web.metric("remora_heartbeat_age_seconds")) < 1, "in the metric too");
});

t.test("states are announced at once: starting is not called, draining leaves, deregistered is gone", async (t) => {
  const server = await registryOf(t, { heartbeatIntervalMs: 60_000, leaseMs: 60_000 });
  const orders = await startSidecar(t, "orders", server);
  const web = await startSidecar(t, "web", server);
  await eventually(() => server.store.leases.get("orders-1") !== undefined, "orders is announced");
  t.strictSame(ids(await lookup(web.discovery, ORDERS)), [], "meshed, and none is ready");
  orders.discovery.setState("ready");
  await eventually(async () => ids(await lookup(web.discovery, ORDERS))?.[0] === "orders-1", "ready is seen");
  orders.discovery.setState("draining");
  await eventually(async () => ids(await lookup(web.discovery, ORDERS))?.length === 0, "draining is seen");
  await orders.discovery.deregister();
  t.equal(server.store.leases.get("orders-1"), undefined);
});

t.test("a new certificate moves both streams to a new connection and loses nothing", async (t) => {
  const server = await registryOf(t);
  const orders = await startSidecar(t, "orders", server);
  const web = await startSidecar(t, "web", server);
  orders.discovery.setState("ready");
  await eventually(async () => ids(await lookup(web.discovery, ORDERS))?.length === 1, "orders is found");
  const before = web.discovery.peek(destinationKey(ORDERS));
  const seen: (string[] | null)[] = [];
  for (let round = 0; round < 5; round += 1) {
    web.renew();
    orders.renew();
    for (let step = 0; step < 10; step += 1) {
      seen.push(ids(web.discovery.peek(destinationKey(ORDERS))));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  t.ok(
    seen.every((found) => found?.[0] === "orders-1"),
    "it was there all the time",
  );
  t.ok(server.store.leases.get("orders-1"));
  await eventually(async () => (await server.metric("remora_registry_watchers")) === 2, "the old streams are gone");
  await eventually(
    () =>
      !web.discovery
        .peek(destinationKey(ORDERS))
        ?.endpoints[0]?.messageCertificate?.equals(before?.endpoints[0]?.messageCertificate ?? Buffer.alloc(0)),
    "the new message certificate of orders arrives",
  );
});

t.test("while the registry is away destinations stay, new ones are not found soon, and afterwards all goes on", async (t) => {
  const ca = createThrowawayCa();
  const first = await registryOf(t, { ca });
  const orders = await startSidecar(t, "orders", first);
  const web = await startSidecar(t, "web", first);
  orders.discovery.setState("ready");
  await eventually(async () => ids(await lookup(web.discovery, ORDERS))?.length === 1, "orders is found");
  await first.close();
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.strictSame(ids(await lookup(web.discovery, ORDERS)), ["orders-1"]);
  const asked = Date.now();
  t.equal(await lookup(web.discovery, { kind: "service", name: "stock", port: 0 }), null);
  t.ok(Date.now() - asked < 1000, "within the lookup timeout");
  const again = Date.now();
  t.equal(await lookup(web.discovery, { kind: "service", name: "stock", port: 0 }), null);
  t.ok(Date.now() - again < 50, "the second one does not wait");
  t.ok(web.discovery.heartbeatAgeMs() > 250);

  let sawNothing = false;
  const watching = setInterval(() => {
    sawNothing ||= ids(web.discovery.peek(destinationKey(ORDERS)))?.length !== 1;
  }, 1);
  t.teardown(() => clearInterval(watching));
  // A new registry waits one lease for everyone to announce himself: long here, as a busy machine takes its time.
  const second = await registryOf(t, { ca, port: first.port, leaseMs: 15_000 });
  await eventually(() => second.store.leases.size === 2, "both announce themselves to the new registry");
  t.notOk(sawNothing, "orders was never lost on the way");
  const stock = await startSidecar(t, "stock", second);
  stock.discovery.setState("ready");
  await eventually(() => web.discovery.peek("service/stock/0") !== null, "what was asked while it was away arrives");
});

t.test("a connection that died without a word is replaced before the lease ends", async (t) => {
  const server = await registryOf(t, { heartbeatIntervalMs: 500, leaseMs: 4000 });
  const path = await startSilencer(t, server.port);
  const orders = await startSidecar(t, "orders", { ...server, address: `127.0.0.1:${path.port}` });
  const web = await startSidecar(t, "web", server);
  orders.discovery.setState("ready");
  await eventually(async () => ids(await lookup(web.discovery, ORDERS))?.length === 1, "orders is found");
  await eventually(() => orders.discovery.heartbeatAgeMs() < 400, "heartbeats flow");

  // Leases this short ask for a channel that tries again sooner than the one that was begun with.
  const connectionsBefore = path.connections();
  t.equal(connectionsBefore, 2);
  path.silence();
  const silencedMonoMs = performance.now();
  while (performance.now() - silencedMonoMs < 6_000) {
    if (server.store.leases.get("orders-1") === undefined) return t.fail("the lease of a live instance ended");
    await new Promise((done) => setTimeout(done, 50));
  }
  await eventually(() => orders.discovery.heartbeatAgeMs() < 1_000, "heartbeats flow again");
  t.equal(path.connections(), connectionsBefore + 1, "over one new connection, for both streams");
  t.same(ids(await lookup(orders.discovery, { kind: "service", name: "web", port: 0 })), [], "and the watch goes on over it");
});

t.test("a sidecar that starts without a registry finds what it knew, and takes the truth when it comes", async (t) => {
  const ca = createThrowawayCa();
  const stateDir = folder(t);
  const first = await registryOf(t, { ca });
  const orders = await startSidecar(t, "orders", first);
  orders.discovery.setState("ready");
  const before = await startSidecar(t, "web", first, { stateDir });
  await eventually(async () => ids(await lookup(before.discovery, ORDERS))?.length === 1, "orders is found");
  await before.discovery.close();
  await orders.discovery.deregister();
  await first.close();
  t.ok(JSON.parse(readFileSync(join(stateDir, "destinations.json"), "utf8")));

  const after = await startSidecar(t, "web", first, { stateDir });
  t.strictSame(ids(await lookup(after.discovery, ORDERS)), ["orders-1"], "from disk");
  const second = await registryOf(t, { ca, port: first.port });
  await eventually(() => second.store.leases.size >= 1, "it announces itself");
  await eventually(async () => (await lookup(after.discovery, ORDERS)) === null, "the registry says that it is gone");
});

t.test("a file that is corrupt, foreign, or of the future is ignored", async (t) => {
  const ca = createThrowawayCa();
  for (const text of [
    "",
    "{",
    "null",
    "[]",
    '{"format":1}',
    '{"format":2,"identity":"spiffe://cluster.local/ns/default/sa/web","destinations":[]}',
    '{"format":1,"identity":"spiffe://cluster.local/ns/default/sa/other","destinations":[]}',
    '{"format":1,"identity":"spiffe://cluster.local/ns/default/sa/web","destinations":[{"destination":{"kind":"service","name":"orders","port":0}}]}',
    "\u0000".repeat(1000),
  ]) {
    const stateDir = folder(t);
    writeFileSync(join(stateDir, "destinations.json"), text);
    const { discovery } = await startSidecar(t, "web", { address: "127.0.0.1:1", ca }, { stateDir, lookupTimeoutMs: 20 });
    t.equal(await lookup(discovery, ORDERS), null, JSON.stringify(text.slice(0, 40)));
    await discovery.close();
  }
});

t.test("a full disk costs the fallback and nothing else", async (t) => {
  const server = await registryOf(t);
  const orders = await startSidecar(t, "orders", server);
  orders.discovery.setState("ready");
  const full = () => Promise.reject(Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" }));
  const web = await startSidecar(t, "web", server, { stateDir: folder(t), files: { write: full, rename: full } });
  await eventually(async () => ids(await lookup(web.discovery, ORDERS))?.length === 1, "orders is found");
  await eventually(async () => (await web.metric("remora_destinations_save_errors_total")) >= 1, "the failure is counted");
  orders.discovery.setState("draining");
  await eventually(async () => ids(await lookup(web.discovery, ORDERS))?.length === 0, "updates go on");
});

t.test("an endpoint that refused a connection is left alone until it is announced anew or a few seconds went by", async (t) => {
  const server = await registryOf(t);
  let shiftMs = 0;
  const clock: Clock = { ...systemClock, monoMs: () => systemClock.monoMs() + shiftMs };
  const first = await startSidecar(t, "orders", server);
  const second = await startSidecar(t, "orders", server, {
    self: {
      instanceId: "orders-2",
      epoch: 1,
      services: ["orders"],
      addresses: ["127.0.0.1"],
      ports: [{ number: 9, protocol: "http1", name: "" }],
      inboundPort: 10,
      version: "1",
      channel: "",
    },
  });
  const web = await startSidecar(t, "web", server, { clock });
  first.discovery.setState("ready");
  second.discovery.setState("ready");
  await eventually(async () => ids(await lookup(web.discovery, ORDERS))?.length === 2, "both are found");
  const view = await lookup(web.discovery, ORDERS);
  const [one, two] = view?.endpoints ?? [];
  if (one === undefined || two === undefined) throw new Error("two endpoints");
  web.discovery.markRefused(one);
  const fewer = await lookup(web.discovery, ORDERS);
  t.strictSame(ids(fewer), [two.instanceId]);
  t.not(fewer, view, "a new view");
  t.equal(fewer?.version, view?.version);
  web.discovery.markRefused(two);
  t.equal((await lookup(web.discovery, ORDERS))?.endpoints.length, 2, "when all refused, all are worth a try");
  shiftMs = 6000;
  t.equal(await web.metric("remora_early_removals_total"), 2);
});

t.test("destinations are bounded: the one unused longest is forgotten and no longer watched", async (t) => {
  const server = await registryOf(t);
  const web = await startSidecar(t, "web", server, { maxDestinations: 5 });
  for (let n = 0; n < 40; n += 1) await lookup(web.discovery, { kind: "service", name: `s${n}`, port: 0 });
  await eventually(async () => (await server.metric("remora_registry_subscriptions")) === 5, "five are watched");
  t.equal(await web.metric("remora_destinations"), 5);
});

t.test("a refused sidecar keeps trying and is accepted when the reason is gone", async (t) => {
  const ca = createThrowawayCa();
  const server = await registryOf(t, { ca });
  const wrong = await startSidecar(t, "web", server, {
    self: {
      instanceId: "web-1",
      epoch: 1,
      services: ["orders"],
      addresses: ["127.0.0.1"],
      ports: [],
      inboundPort: 7,
      version: "1",
      channel: "",
    },
  });
  await eventually(async () => (await wrong.metric('remora_heartbeats_total{outcome="refused"}')) >= 2, "refused twice");
  t.equal(server.store.leases.size, 0);
  t.ok((await server.metric('remora_registry_refused_total{reason="forbidden"}')) >= 2);
});
