import t from "tap";
import { systemClock } from "../../core/clock.ts";
import { silentLogger } from "../../core/log.ts";
import { startKubernetesSource } from "../../registry/kubernetes-source.ts";
import type { KubeApi, KubeObject } from "../support/kube-api.ts";
import { startKubeApi } from "../support/kube-api.ts";
import { askAddress, askService, createTestClient, eventually, heartbeatOf, startRegistryServer } from "./harness.ts";

function service(name: string, spec: object): KubeObject {
  return { apiVersion: "v1", kind: "Service", metadata: { name, namespace: "default" }, spec };
}

function slice(name: string, endpoints: readonly object[], port = 8080): KubeObject {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: `${name}-x`, namespace: "default", labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports: [{ name: "http", port, protocol: "TCP" }],
    endpoints,
  } as KubeObject;
}

function pod(
  uid: string,
  addresses: readonly string[],
  changes: { readonly account?: string; readonly annotations?: Record<string, string> } = {},
): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: `pod-${uid}`,
      namespace: "default",
      uid,
      ...(changes.annotations === undefined ? {} : { annotations: changes.annotations }),
    },
    spec: { serviceAccountName: changes.account ?? "orders", containers: [] },
    status: { phase: "Running", podIPs: addresses.map((ip) => ({ ip })) },
  } as KubeObject;
}

function backend(uid: string, address: string, ready = true) {
  return { addresses: [address], conditions: { ready }, targetRef: { kind: "Pod", name: `pod-${uid}`, namespace: "default", uid } };
}

async function start(t: { teardown(run: () => unknown): void }, fill: (api: KubeApi) => void) {
  const api = await startKubeApi();
  t.teardown(() => api.close());
  fill(api);
  const source = await startKubernetesSource({
    kubeconfig: api.kubeconfig(),
    clock: systemClock,
    random: Math.random,
    log: silentLogger(),
  });
  t.teardown(() => source.close());
  const server = await startRegistryServer({ services: source, kubernetes: true });
  t.teardown(() => server.close());
  const orders = createTestClient(server, server.ca.leaf("default/orders"));
  t.teardown(() => orders.close());
  return { api, source, server, orders };
}

const CLUSTER_IP = "10.96.0.10";

function fillOrders(api: KubeApi): void {
  const ports = [{ name: "http", port: 80, targetPort: "web", protocol: "TCP", appProtocol: "http" }];
  api.put("services", service("orders", { clusterIP: CLUSTER_IP, clusterIPs: [CLUSTER_IP, "fd00::10"], ports }));
  api.put("endpointslices", slice("orders", [backend("u1", "10.1.0.1"), backend("u2", "10.1.0.2"), backend("plain", "10.1.0.9")]));
  api.put("pods", pod("u1", ["10.1.0.1", "fd01::1"]));
  api.put("pods", pod("u2", ["10.1.0.2"], { annotations: { "remora.io/skip-inbound-ports": "9090, 9091" } }));
  api.put("pods", pod("plain", ["10.1.0.9"], { account: "other" }));
}

const inPod = (uid: string, address: string) =>
  heartbeatOf({
    instanceId: uid,
    services: [],
    addresses: [address],
    inboundPort: 0,
    ports: [{ number: 8080, protocol: "PROTOCOL_UNSPECIFIED", name: "web" }],
  });

t.test("a Service is found by name and by its addresses; only pods with a sidecar are in it", async (t) => {
  const { server, orders, api } = await start(t, fillOrders);
  const watch = orders.watch();
  watch.send(askService("orders", 80));
  t.match(await watch.next(), { found: false }, "no pod is meshed yet: traffic passes through");

  const first = orders.heartbeat();
  first.send({ ...inPod("u1", "10.1.0.1"), addresses: ["10.1.0.1", "fd01::1"] });
  t.match(await first.next(), { accepted: true }, "a pod may announce its own addresses, wherever it connects from");
  t.match(await watch.next(), {
    found: true,
    service: "default/orders",
    protocol: "PROTOCOL_HTTP1",
    upserts: [{ instanceId: "u1", address: "10.1.0.1", port: 8080, inboundPort: 0 }],
  });
  const second = orders.heartbeat();
  second.send(inPod("u2", "10.1.0.2"));
  t.match(await second.next(), { accepted: true });
  t.match(await watch.next(), { full: false, upserts: [{ instanceId: "u2" }] });

  for (const address of [CLUSTER_IP, "fd00::10", "FD00:0::10"]) {
    watch.send(askAddress(address, 80));
    const update = await watch.next();
    t.match(update, { found: true, service: "default/orders" }, address);
    t.equal(update.upserts.length, 2);
  }
  watch.send(askAddress(CLUSTER_IP, 81));
  t.match(await watch.next(), { found: false }, "a port the Service does not have");
  watch.send(askAddress("10.1.0.1", 8080));
  t.match(await watch.next(), { found: true, service: "", upserts: [{ instanceId: "u1" }] }, "a pod by its address");
  watch.send(askAddress("10.1.0.2", 5432));
  t.match(
    await watch.next(),
    { found: true, upserts: [{ instanceId: "u2", port: 5432 }] },
    "every port of a transparent pod leads to its sidecar",
  );
  watch.send(askAddress("10.1.0.2", 9090));
  t.match(await watch.next(), { found: false }, "but not one that it skips");
  watch.send(askAddress("10.1.0.2", 15020));
  t.match(await watch.next(), { found: false }, "nor its admin port");
  watch.send(askAddress("10.1.0.9", 8080));
  t.match(await watch.next(), { found: false }, "a pod without a sidecar");
  watch.send({ key: "slice", service: { name: "orders", port: 80 }, unsubscribe: false, knownVersion: 0 });
  await watch.next();

  api.put("endpointslices", slice("orders", [backend("u1", "10.1.0.1", false), backend("u2", "10.1.0.2")]));
  t.match(await watch.until(({ key }) => key === "slice"), { removed: ["u1:8080"] }, "not ready says Kubernetes");
  api.put("endpointslices", slice("orders", [backend("u2", "10.1.0.2")], 8081));
  t.match(
    await watch.until(({ key }) => key === "slice"),
    { upserts: [{ instanceId: "u2", port: 8081 }], removed: ["u2:8080"] },
    "another target port",
  );
  t.match(server.registry.health(), { status: "ok" });
});

t.test("a pod cannot announce another pod's address, UID or account", async (t) => {
  const { server, orders } = await start(t, fillOrders);
  const thief = createTestClient(server, server.ca.leaf("default/thief"));
  t.teardown(() => thief.close());
  const refused = async (client: typeof orders, message: ReturnType<typeof inPod>, what: string) => {
    const stream = client.heartbeat();
    stream.send(message);
    t.match(await stream.next(), { accepted: false, reason: "forbidden" }, what);
    stream.call.end();
  };
  await refused(thief, inPod("u1", "10.1.0.1"), "as another account");
  await refused(thief, inPod("x9", "10.1.0.1"), "an address that is not the connection's");
  await refused(orders, inPod("u1", "10.1.0.2"), "another pod's address");
  t.equal(server.store.leases.size, 0);

  const stale = orders.heartbeat();
  stale.send(heartbeatOf({ instanceId: "old", addresses: ["127.0.0.1"], inboundPort: 0, services: [] }));
  t.match(await stale.next(), { accepted: false, reason: "forbidden" }, "an unknown pod, also from the address it comes from");
});

t.test("the watch survives an API server that drops it, and one that forgets", async (t) => {
  const { api, source } = await start(t, fillOrders);
  t.ok(source.service("default/orders"));
  api.dropWatches();
  api.put("services", service("late", { clusterIP: "10.96.0.11", clusterIPs: ["10.96.0.11"], ports: [] }));
  await eventually(() => source.service("default/late") !== undefined, "a service made while the watch was down");
  api.dropWatches({ forget: true });
  api.remove("services", "default", "late");
  await eventually(() => source.service("default/late") === undefined, "a service removed while the watch was down");
  t.equal(source.byVirtualAddress("10.96.0.11"), undefined);
});

t.test("an API server that refuses the lists is a clear error", async (t) => {
  const api = await startKubeApi({ authorize: ({ resource }) => resource !== "pods" });
  t.teardown(() => api.close());
  const alive = setInterval(() => {}, 1000);
  t.teardown(() => clearInterval(alive));
  await t.rejects(
    startKubernetesSource({
      kubeconfig: api.kubeconfig(),
      clock: systemClock,
      random: Math.random,
      log: silentLogger(),
      syncTimeoutMs: 3_000,
    }),
    { code: "unavailable", message: /pods: .*403/s },
  );
});
