// The registry's Kubernetes source on a real API server: it logs in with the account and the rights that manifests/base give the control plane, over a
// relay that tests can break; and short ways to write Services, EndpointSlices and Pods as controllers and kubelets would.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Test } from "tap";
import { systemClock } from "../../core/clock.ts";
import { silentLogger } from "../../core/log.ts";
import { createMetrics, type Metrics } from "../../core/metrics.ts";
import { startKubernetesSource } from "../../registry/kubernetes-source.ts";
import type { ServiceSource } from "../../registry/service-source.ts";
import { createTestClient, heartbeatOf, startRegistryServer, type RegistryServer, type TestClient } from "../registry/harness.ts";
import type { ApiObject } from "../support/kubernetes/api-client.ts";
import { type Kubernetes, KUBERNETES_PROGRAMS, startKubernetes } from "../support/kubernetes/kubernetes.ts";
import { requires } from "../support/requires.ts";
import { startTcpGate, type TcpGate } from "../support/tcp-gate.ts";
import { CONTROL_NAMESPACE, kubectl } from "./installation.ts";

/** For the `skip` of a test: no root is needed. */
export const lacksKubernetes: false | string = requires(...KUBERNETES_PROGRAMS);
const MANIFESTS = resolve(import.meta.dirname, "../../manifests/base");
const MERGE_PATCH = "application/merge-patch+json";
/** Most objects of these tests are in it. */
export const SHOP = "shop";

/** The API server, what tests write there, and the way to it. */
export interface MeshServices {
  readonly kubernetes: Kubernetes;
  readonly gate: TcpGate;
  /** A source of its own that is closed with the test. */
  startSource(t: Test, options?: { readonly watchSeconds?: number; readonly asAdmin?: boolean }): Promise<RunningSource>;
  putService(name: string, spec: object, more?: { readonly namespace?: string }): Promise<ApiObject>;
  /** A slice called `name` of the Service `service`. */
  putSlice(name: string, service: string, slice: SliceWish): Promise<void>;
  /** Also marks the pod as running at `addresses`, unless there are none. */
  putPod(name: string, wish?: PodWish): Promise<string>;
  setPodStatus(name: string, status: object, namespace?: string): Promise<void>;
  remove(kind: "services" | "endpointslices" | "pods", name: string, namespace?: string): Promise<void>;
}

/** A source and what it counts. */
export interface RunningSource {
  readonly source: ServiceSource;
  /** The value of one line of /metrics; 0 where it is not there. */
  metric(line: string): Promise<number>;
  /** A registry on it, with clients. */
  serve(t: Test): Promise<Served>;
}

/** A registry and who talks to it. */
export interface Served {
  readonly server: RegistryServer;
  /** The same client for the same `namespace/account`. */
  client(account: string): TestClient;
  /** Announces a pod once over a stream that stays open. Resolves with what was answered. */
  announce(account: string, uid: string, addresses: readonly string[], changes?: object): Promise<{ accepted: boolean; message: string }>;
}

/** An EndpointSlice, shortly. */
export interface SliceWish {
  readonly namespace?: string;
  readonly family?: "IPv4" | "IPv6";
  /** Numbers by name of the Service's port. */
  readonly ports: Readonly<Record<string, number>>;
  readonly endpoints: readonly object[];
}

/** A pod, shortly. */
export interface PodWish {
  readonly namespace?: string;
  readonly account?: string;
  readonly addresses?: readonly string[];
  readonly metadata?: object;
  readonly spec?: object;
}

/** Starts it all with the namespace {@link SHOP} and the accounts `orders` and `thief`. */
export async function startMeshServices(t: Test): Promise<MeshServices> {
  const kubernetes = await startKubernetes(t);
  const { api } = kubernetes;
  const gate = await startTcpGate(kubernetes.port);
  t.teardown(() => gate.close());
  await furnish(kubernetes);
  const place = (kind: string, namespace: string) =>
    kind === "endpointslices" ? `/apis/discovery.k8s.io/v1/namespaces/${namespace}/${kind}` : `/api/v1/namespaces/${namespace}/${kind}`;

  /** Creates it, or replaces what is there. */
  async function put(kind: string, object: ApiObject): Promise<ApiObject> {
    const folder = place(kind, object.metadata.namespace ?? SHOP);
    return api.object(folder, { body: object }).catch(async (error: { readonly status?: number }) => {
      if (error.status !== 409) throw error;
      return api.object(`${folder}/${object.metadata.name}`, { method: "PUT", body: object });
    });
  }

  async function setPodStatus(name: string, status: object, namespace = SHOP): Promise<void> {
    const path = `${place("pods", namespace)}/${name}/status`;
    await api.call(path, { method: "PATCH", contentType: MERGE_PATCH, body: { status } });
  }

  return {
    kubernetes,
    gate,
    async startSource(t, { asAdmin = false, ...options } = {}) {
      const metrics = createMetrics({ component: "control", version: "0.0.0", commit: "test" });
      const token = asAdmin ? kubernetes.adminToken : await kubernetes.requestToken(CONTROL_NAMESPACE, "remora-control");
      const kubeconfig = kubeconfigOf(kubernetes.caPem, gate.port, token);
      const common = { clock: systemClock, random: Math.random, log: silentLogger() };
      const source = await startKubernetesSource({ ...common, kubeconfig, metrics, ...options });
      t.teardown(() => source.close());
      return { source, metric: (line) => readMetric(metrics, line), serve: (t) => serve(t, source) };
    },
    putService: (name, spec, { namespace = SHOP } = {}) => put("services", { metadata: { name, namespace }, spec }),
    async putSlice(name, service, { namespace = SHOP, family = "IPv4", ports, endpoints }) {
      await put("endpointslices", {
        metadata: { name, namespace, labels: { "kubernetes.io/service-name": service } },
        addressType: family,
        ports: Object.entries(ports).map(([name, port]) => ({ name, port, protocol: "TCP" })),
        endpoints,
      });
    },
    async putPod(name, { namespace = SHOP, account = "orders", addresses = [], metadata = {}, spec = {} } = {}) {
      const body = {
        metadata: { ...metadata, name, namespace },
        spec: { serviceAccountName: account, containers: [{ name: "app", image: "busybox" }], ...spec },
      };
      const stored = await api.object(place("pods", namespace), { body });
      if (addresses.length > 0) await setPodStatus(name, runningAt(addresses), namespace);
      return stored.metadata.uid ?? "";
    },
    setPodStatus,
    async remove(kind, name, namespace = SHOP) {
      await api.call(`${place(kind, namespace)}/${name}${kind === "pods" ? "?gracePeriodSeconds=0" : ""}`, { method: "DELETE" });
    },
  };
}

/** The status of a running pod. */
export function runningAt(addresses: readonly string[]): object {
  return { phase: "Running", podIP: addresses[0], podIPs: addresses.map((ip) => ({ ip })) };
}

/** An endpoint that is a pod. */
export function podEndpoint(uid: string, name: string, address: string, more: object = {}): object {
  return { addresses: [address], conditions: { ready: true }, targetRef: { kind: "Pod", namespace: SHOP, name, uid }, ...more };
}

/** The control plane's account with the rights that the manifests give it, and what workloads need. */
async function furnish(kubernetes: Kubernetes): Promise<void> {
  const manifest = (name: string) => readFileSync(resolve(MANIFESTS, name), "utf8");
  await kubectl(kubernetes, ["apply", "-f", "-"], manifest("namespace.yaml"));
  await kubectl(kubernetes, ["apply", "-f", "-"], manifest("control-rbac.yaml"));
  for (const namespace of [SHOP, "other"]) {
    await kubernetes.createNamespace(namespace);
    for (const name of ["orders", "thief"])
      await kubernetes.api.call(`/api/v1/namespaces/${namespace}/serviceaccounts`, { body: { metadata: { name } } });
  }
}

function kubeconfigOf(caPem: string, port: number, token: string): string {
  const cluster = {
    server: `https://127.0.0.1:${port}`,
    "certificate-authority-data": Buffer.from(caPem).toString("base64"),
  };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "test", cluster }],
    users: [{ name: "test", user: { token } }],
    contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
    "current-context": "test",
  });
}

async function serve(t: Test, source: ServiceSource): Promise<Served> {
  const server = await startRegistryServer({ services: source, kubernetes: true });
  t.teardown(() => server.close());
  const clients = new Map<string, TestClient>();
  function client(account: string): TestClient {
    const known = clients.get(account) ?? createTestClient(server, server.ca.leaf(account));
    if (!clients.has(account)) t.teardown(() => known.close());
    clients.set(account, known);
    return known;
  }
  return {
    server,
    client,
    async announce(account, uid, addresses, changes = {}) {
      const stream = client(account).heartbeat();
      stream.send(heartbeatOf({ instanceId: uid, services: [], addresses: [...addresses], inboundPort: 0, ports: [], ...changes }));
      const { accepted, message } = await stream.next();
      return { accepted, message };
    },
  };
}

async function readMetric(metrics: Metrics, line: string): Promise<number> {
  const found = (await metrics.registry.metrics()).split("\n").find((candidate) => candidate.startsWith(`${line} `));
  return found === undefined ? 0 : Number(found.slice(line.length + 1));
}
