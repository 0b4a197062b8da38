// What the registry makes of the Services and EndpointSlices of a real API server, joined with heartbeats: what callers get. No controllers run, so that
// the tests write slices as Kubernetes' own controller does.
import t, { type Test } from "tap";
import { eventually, askAddress, askService } from "../registry/harness.ts";
import { lacksKubernetes, type MeshServices, podEndpoint, type Served, SHOP, startMeshServices } from "./mesh-services.ts";

t.setTimeout(800_000);

const HTTP = { name: "http", port: 80, targetPort: "web" };

interface Answer {
  readonly found: boolean;
  readonly service: string;
  readonly protocol: string;
  /** `instance@address:port`, sorted. */
  readonly endpoints: readonly string[];
}

/** Follows one destination; `until` waits for what it is to be. */
function follow(served: Served, asked: ReturnType<typeof askService>, account = `${SHOP}/orders`) {
  const stream = served.client(account).watch();
  const endpoints = new Map<string, string>();
  let answer: Answer | null = null;
  stream.call.on("error", () => {});
  stream.send(asked);
  async function next(): Promise<Answer> {
    const { found, service, protocol, full, upserts, removed } = await stream.next();
    if (full) endpoints.clear();
    for (const { instanceId, address, port } of upserts) endpoints.set(`${instanceId}:${port}`, `${instanceId}@${address}:${port}`);
    for (const id of removed) endpoints.delete(id);
    answer = { found, service, protocol, endpoints: [...endpoints.values()].sort() };
    return answer;
  }
  return {
    next,
    async until(matches: (answer: Answer) => boolean): Promise<Answer> {
      let seen = answer ?? (await next());
      while (!matches(seen)) seen = await next();
      return seen;
    },
    end: () => stream.call.cancel(),
  };
}

/** One answer, now. */
async function ask(served: Served, asked: ReturnType<typeof askService>, account?: string): Promise<Answer> {
  const followed = follow(served, asked, account);
  const answer = await followed.next();
  followed.end();
  return answer;
}

t.test("services of a real cluster", { skip: lacksKubernetes }, async (t) => {
  const cluster = await startMeshServices(t);
  const running = await cluster.startSource(t);
  const { source } = running;
  const served = await running.serve(t);
  const defined = (name: string, holds: (endpoints: number) => boolean) =>
    eventually(() => {
      const members = source.service(`${SHOP}/${name}`)?.members;
      return members?.kind === "endpoints" && holds(members.endpoints.length);
    }, `the service ${name}`);

  /** A meshed pod. */
  async function mesh(t: Test, { putPod }: MeshServices, name: string, addresses: readonly string[], more: object = {}): Promise<string> {
    const uid = await putPod(name, { addresses, ...more });
    t.match(await served.announce(`${SHOP}/orders`, uid, addresses), { accepted: true }, `${name} is meshed`);
    return uid;
  }

  t.test("many ports, with names on both sides that mean another number in each pod", async (t) => {
    const [one, two] = [await mesh(t, cluster, "many-1", ["10.1.1.1"]), await mesh(t, cluster, "many-2", ["10.1.1.2"])];
    const ports = [
      HTTP,
      { name: "grpc-admin", port: 9000, targetPort: 9001 },
      { name: "db", port: 5000, targetPort: "db", appProtocol: "mysql" },
      { name: "dns", port: 53, targetPort: 53, protocol: "UDP" },
      { name: "media", port: 54, targetPort: 54, protocol: "SCTP" },
    ];
    const { spec } = await cluster.putService("many", { ports });
    const { clusterIP } = spec as { readonly clusterIP: string };
    await cluster.putSlice("many-a", "many", {
      ports: { http: 8080, "grpc-admin": 9001, db: 3306 },
      endpoints: [podEndpoint(one, "many-1", "10.1.1.1")],
    });
    await cluster.putSlice("many-b", "many", {
      ports: { http: 9090, "grpc-admin": 9001 },
      endpoints: [podEndpoint(two, "many-2", "10.1.1.2")],
    });
    await defined("many", (count) => count === 2);
    const http = [`${one}@10.1.1.1:8080`, `${two}@10.1.1.2:9090`].sort();
    t.match(await ask(served, askService("many", 80)), { found: true, service: `${SHOP}/many`, endpoints: http });
    t.match(await ask(served, askAddress(clusterIP, 80)), { endpoints: http }, "by its address");
    t.match(await ask(served, askService("many.shop.svc.cluster.local", 9000), "other/orders"), {
      protocol: "PROTOCOL_GRPC",
      endpoints: [`${one}@10.1.1.1:9001`, `${two}@10.1.1.2:9001`].sort(),
    });
    t.match(await ask(served, askService("many", 5000)), { protocol: "PROTOCOL_TCP", endpoints: [`${one}@10.1.1.1:3306`] }, "one has it");
    t.match(await ask(served, askService("many", 53)), { found: false }, "UDP is no port of ours");
    t.match(await ask(served, askService("many", 54)), { found: false }, "nor is SCTP");
    t.match(await ask(served, askService("many", 8080)), { found: false }, "the target port is not the service's");

    const udp = [{ name: "dns", port: 53, protocol: "UDP" }];
    await cluster.putService("udp", { ports: udp });
    await cluster.putSlice("udp-a", "udp", { ports: { dns: 53 }, endpoints: [podEndpoint(one, "many-1", "10.1.1.1")] });
    await defined("udp", () => true);
    t.match(await ask(served, askService("udp", 0)), { found: false }, "a service without any port of TCP");
  });

  t.test("headless: by name, by the name of each pod, and by its address", async (t) => {
    const [zero, one] = [await mesh(t, cluster, "web-0", ["10.1.2.1"]), await mesh(t, cluster, "web-1", ["10.1.2.2"])];
    await cluster.putService("web", { clusterIP: "None", ports: [HTTP] });
    await cluster.putSlice("web-a", "web", {
      ports: { http: 8080 },
      endpoints: [
        podEndpoint(zero, "web-0", "10.1.2.1", { hostname: "web-0" }),
        podEndpoint(one, "web-1", "10.1.2.2", { hostname: "web-1" }),
      ],
    });
    await defined("web", (count) => count === 2);
    const all = [`${zero}@10.1.2.1:8080`, `${one}@10.1.2.2:8080`].sort();
    t.match(await ask(served, askService("web", 8080)), { endpoints: all }, "the name stands for the pods, the port is theirs");
    t.match(await ask(served, askService("web", 80)), { endpoints: all }, "the service's port means the same");
    for (const name of ["web-0.web.shop", "web-0.web.shop.svc", "web-0.web.shop.svc.cluster.local."])
      t.match(await ask(served, askService(name, 8080)), { found: true, endpoints: [`${zero}@10.1.2.1:8080`] }, name);
    t.match(await ask(served, askService("web-2.web.shop", 8080)), { found: false }, "nobody of that name");
    t.match(await ask(served, askService("web-0.many.shop", 8080)), { found: false }, "nor of that service");
    t.match(await ask(served, askAddress("10.1.2.2", 8080)), { service: "", endpoints: [`${one}@10.1.2.2:8080`] });
    t.equal(source.byVirtualAddress("None"), undefined);
  });

  t.test("endpoints that are no pods, and names for what is elsewhere, are not in the mesh", async (t) => {
    const uid = await mesh(t, cluster, "mixed-1", ["10.1.3.1"]);
    await cluster.putService("outside", { ports: [{ port: 80 }] });
    await cluster.putSlice("outside-a", "outside", { ports: { "": 80 }, endpoints: [{ addresses: ["192.0.2.1"] }] });
    await defined("outside", (count) => count === 1);
    t.match(await ask(served, askService("outside", 80)), { found: false }, "passed through");

    await cluster.putService("mixed", { ports: [{ port: 80 }] });
    await cluster.putSlice("mixed-a", "mixed", {
      ports: { "": 8080 },
      endpoints: [{ addresses: ["192.0.2.1"] }, { addresses: ["10.1.3.1"] }],
    });
    await defined("mixed", (count) => count === 2);
    t.match(await ask(served, askService("mixed", 80)), { endpoints: [`${uid}@10.1.3.1:8080`] }, "a pod by its address alone");
    await cluster.putService("stolen", { ports: [{ port: 80 }] }, { namespace: "other" });
    await cluster.putSlice("stolen-a", "stolen", { namespace: "other", ports: { "": 8080 }, endpoints: [{ addresses: ["10.1.3.1"] }] });
    await eventually(() => source.service("other/stolen") !== undefined, "the service of another namespace");
    t.match(await ask(served, askService("stolen.other", 80)), { found: false }, "but not one of another namespace");

    await cluster.putService("elsewhere", { type: "ExternalName", externalName: "db.example.com" });
    await defined("elsewhere", () => true);
    await served.announce(`${SHOP}/orders`, uid, ["10.1.3.1"], { services: ["elsewhere"], epoch: 2000 });
    t.match(await ask(served, askService("elsewhere", 0)), { found: false }, "also where a workload announces the name");
  });

  t.test("an instance of two families counts once, and is found by both addresses of the service", async (t) => {
    const uid = await mesh(t, cluster, "dual-1", ["10.1.4.1", "fd01:4::1"]);
    const { spec } = await cluster.putService("dual", { ipFamilyPolicy: "RequireDualStack", ports: [{ port: 80 }] });
    await cluster.putSlice("dual-4", "dual", { ports: { "": 8080 }, endpoints: [podEndpoint(uid, "dual-1", "10.1.4.1")] });
    await cluster.putSlice("dual-6", "dual", { family: "IPv6", ports: { "": 8080 }, endpoints: [podEndpoint(uid, "dual-1", "fd01:4::1")] });
    await defined("dual", (count) => count === 2);
    const { clusterIPs } = spec as { readonly clusterIPs: readonly string[] };
    t.equal(clusterIPs.length, 2);
    for (const address of clusterIPs)
      t.match(await ask(served, askAddress(address, 80)), { service: `${SHOP}/dual`, endpoints: [`${uid}@10.1.4.1:8080`] }, address);
    await cluster.remove("endpointslices", "dual-4");
    const followed = follow(served, askService("dual", 80));
    await followed.until(({ endpoints }) => endpoints[0] === `${uid}@fd01:4::1:8080`);
    followed.end();
  });

  t.test("ready as Kubernetes sees it, in several slices and several services", async (t) => {
    const [one, two] = [await mesh(t, cluster, "state-1", ["10.1.5.1"]), await mesh(t, cluster, "state-2", ["10.1.5.2"])];
    await cluster.putService("state", { ports: [{ port: 80 }], sessionAffinity: "ClientIP" });
    await cluster.putService("state-too", { ports: [{ port: 81 }] });
    const slice = (conditions: object) =>
      cluster.putSlice("state-a", "state", {
        ports: { "": 8080 },
        endpoints: [podEndpoint(one, "state-1", "10.1.5.1", { conditions }), podEndpoint(two, "state-2", "10.1.5.2")],
      });
    await slice({ ready: true, serving: true, terminating: false });
    await cluster.putSlice("state-b", "state", { ports: { "": 8080 }, endpoints: [podEndpoint(two, "state-2", "10.1.5.2")] });
    await cluster.putSlice("state-c", "state-too", { ports: { "": 8081 }, endpoints: [podEndpoint(two, "state-2", "10.1.5.2")] });
    await defined("state", (count) => count === 3);
    const followed = follow(served, askService("state", 80));
    const both = [`${one}@10.1.5.1:8080`, `${two}@10.1.5.2:8080`].sort();
    t.match(await followed.until(({ endpoints }) => endpoints.length === 2), { endpoints: both }, "in two slices is there once");
    for (const conditions of [
      { ready: false, serving: false, terminating: false },
      { ready: false, serving: true, terminating: true },
    ]) {
      await slice(conditions);
      await followed.until(({ endpoints }) => endpoints.length === 1);
      await slice({ ready: true });
      await followed.until(({ endpoints }) => endpoints.length === 2);
    }
    // Not ready first, so that it is seen how the Service's word counts.
    await slice({ ready: false, serving: false, terminating: true });
    await followed.until(({ endpoints }) => endpoints.length === 1);
    await cluster.putService("state", { ports: [{ port: 80 }], publishNotReadyAddresses: true });
    await slice({ ready: true, serving: false, terminating: true });
    t.match(
      await followed.until(({ endpoints }) => endpoints.length === 2),
      { endpoints: both },
      "what is published though it is not ready",
    );
    t.match(await ask(served, askService("state-too", 81)), { endpoints: [`${two}@10.1.5.2:8081`] }, "a pod of two services");
    await served.announce(`${SHOP}/orders`, two, ["10.1.5.2"], { state: "INSTANCE_STATE_DRAINING", epoch: 1000 });
    await followed.until(({ endpoints }) => endpoints.length === 1);
    t.match(await ask(served, askService("state-too", 81)), { found: true, endpoints: [] }, "a drained one leaves all its services");
    followed.end();
  });

  t.test("a service that changes while it is watched", async (t) => {
    const uid = await mesh(t, cluster, "moving-1", ["10.1.6.1"]);
    const first = await cluster.putService("moving", { clusterIP: "10.96.77.1", ports: [{ name: "http", port: 80 }] });
    await cluster.putSlice("moving-a", "moving", { ports: { http: 8080 }, endpoints: [podEndpoint(uid, "moving-1", "10.1.6.1")] });
    const followed = follow(served, askAddress("10.96.77.1", 80));
    const second = follow(served, askAddress("10.96.77.2", 80));
    await followed.until(({ endpoints }) => endpoints.length === 1);

    const changedAtMs = Date.now();
    await cluster.putSlice("moving-a", "moving", { ports: { http: 8081 }, endpoints: [podEndpoint(uid, "moving-1", "10.1.6.1")] });
    await followed.until(({ endpoints }) => endpoints[0] === `${uid}@10.1.6.1:8081`);
    t.comment(`another target port reaches a watcher ${Date.now() - changedAtMs} ms after it was asked for`);
    const spec = { clusterIP: "10.96.77.1", ports: [{ name: "http", port: 8000 }] };
    await cluster.kubernetes.api.call(`/api/v1/namespaces/${SHOP}/services/moving`, {
      method: "PUT",
      body: { metadata: { name: "moving", resourceVersion: first.metadata.resourceVersion }, spec },
    });
    await eventually(() => source.service(`${SHOP}/moving`)?.ports[0]?.port === 8000, "the port of the service");
    t.match(await ask(served, askAddress("10.96.77.1", 8000)), { endpoints: [`${uid}@10.1.6.1:8081`] });

    await cluster.remove("services", "moving");
    await followed.until(({ found }) => !found);
    await cluster.putService("moving", { clusterIP: "10.96.77.2", ports: [{ name: "http", port: 80 }] });
    await second.until(({ found }) => found);
    await cluster.putService("tenant", { clusterIP: "10.96.77.1", ports: [{ port: 80 }] });
    await eventually(() => source.byVirtualAddress("10.96.77.1")?.name === "tenant", "the address is given to another service");
    t.match(await ask(served, askAddress("10.96.77.1", 80)), { found: false }, "which is not in the mesh, and passed through");
    followed.end();
    second.end();
  });

  t.test("nobody takes an address that is not theirs", async (t) => {
    const uid = await mesh(t, cluster, "victim-1", ["10.1.7.1"]);
    await cluster.putService("victim", { clusterIP: "10.96.88.1", ports: [{ port: 80 }] });
    await cluster.putSlice("victim-a", "victim", { ports: { "": 80 }, endpoints: [podEndpoint(uid, "victim-1", "10.1.7.1")] });
    await cluster.putService(
      "aaa",
      { type: "LoadBalancer", ports: [{ port: 80 }], externalIPs: ["10.96.88.1", "203.0.113.7"] },
      { namespace: "other" },
    );
    const thief = "/api/v1/namespaces/other/services/aaa/status";
    const status = { loadBalancer: { ingress: [{ ip: "10.96.88.1" }, { ip: "10.1.7.1" }, { ip: "198.51.100.9" }] } };
    await cluster.kubernetes.api.call(thief, { method: "PATCH", contentType: "application/merge-patch+json", body: { status } });
    await eventually(() => source.byVirtualAddress("198.51.100.9")?.name === "aaa", "the address of a load balancer");
    t.equal(source.byVirtualAddress("10.96.88.1")?.name, "victim", "a cluster address is one service's");
    t.equal(source.byVirtualAddress("10.1.7.1"), undefined, "a pod's address is the pod's");
    t.equal(source.byVirtualAddress("203.0.113.7"), undefined, "an external address is whoever writes it");
    t.match(await ask(served, askAddress("10.1.7.1", 80)), { service: "", endpoints: [`${uid}@10.1.7.1:80`] });
  });

  t.test("a pod without a sidecar at the address of one that is gone gets nothing that was meant for that one", async (t) => {
    const old = await mesh(t, cluster, "reused-1", ["10.1.8.1"]);
    await cluster.putService("reused", { ports: [{ port: 80 }] });
    await cluster.putSlice("reused-a", "reused", { ports: { "": 80 }, endpoints: [podEndpoint(old, "reused-1", "10.1.8.1")] });
    const followed = follow(served, askService("reused", 80));
    await followed.until(({ endpoints }) => endpoints.length === 1);
    await cluster.remove("pods", "reused-1");
    const next = await cluster.putPod("reused-2", { addresses: ["10.1.8.1"] });
    await cluster.putSlice("reused-a", "reused", { ports: { "": 80 }, endpoints: [podEndpoint(next, "reused-2", "10.1.8.1")] });
    await followed.until(({ endpoints }) => endpoints.length === 0);
    t.ok(served.server.store.leases.get(old), "though its lease still lives");
    t.match(await served.announce(`${SHOP}/orders`, next, ["10.1.8.1"]), { accepted: true });
    await followed.until(({ endpoints }) => endpoints[0] === `${next}@10.1.8.1:80`);
    t.equal(served.server.store.leases.get(old), undefined, "the address was its successor's");
    followed.end();
  });

  t.test("ports that a namespace or an injected pod leaves out of the mesh", async (t) => {
    const merge = { method: "PATCH", contentType: "application/merge-patch+json" } as const;
    const init = { name: "remora-init", image: "remora", env: [{ name: "REMORA_SKIP_INBOUND_PORTS", value: "9090" }] };
    await mesh(t, cluster, "skips-1", ["10.1.9.1"]);
    await mesh(t, cluster, "skips-2", ["10.1.9.2"], { spec: { initContainers: [init] } });
    t.match(await ask(served, askAddress("10.1.9.1", 7070)), { found: true }, "nothing is said yet");
    const annotations = { "remora.io/skip-inbound-ports": "7070" };
    await cluster.kubernetes.api.call(`/api/v1/namespaces/${SHOP}`, { ...merge, body: { metadata: { annotations } } });
    await eventually(async () => !(await ask(served, askAddress("10.1.9.1", 7070))).found, "the namespace's annotation");
    t.match(await ask(served, askAddress("10.1.9.1", 9090)), { found: true });
    t.match(await ask(served, askAddress("10.1.9.2", 9090)), { found: false }, "what the pod's capture was made with");
    t.match(await ask(served, askAddress("10.1.9.2", 7070)), { found: true }, "whatever the namespace says since");
  });
});
