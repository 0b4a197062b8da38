// A node for the real API server: runs pods as the API server stored them, in the pod runner, and says what becomes of them as a kubelet and the
// endpoint controller would. Owns binding, status, tokens, cluster names and EndpointSlices. Needs root.
import { setTimeout as pause } from "node:timers/promises";
import { type DeployedPod, endpointSlice, hostLines, type ServiceSpec } from "../../e2e/kubernetes-objects.ts";
import { createTestNetwork } from "../netns.ts";
import type { RunningPod } from "../pod-runner/pod.ts";
import { createPodRunner, type PodRunner } from "../pod-runner/pod-runner.ts";
import type { Pod, PodFacts } from "../pod-runner/pod-spec.ts";
import type { ApiObject } from "./api-client.ts";
import type { Kubernetes } from "./kubernetes.ts";

/** The name that the pod runner gives its node. */
export const NODE_NAME = "test-node";
const READY_TIMEOUT_MS = 60_000;
const FOLLOW_PERIOD_MS = 100;
const MERGE_PATCH = "application/merge-patch+json";

export interface Node {
  readonly runner: PodRunner;
  /** Binds the pod to this node, runs it, and resolves when it is ready. `owner` is a name of the test's own choosing. */
  run(owner: string, stored: ApiObject): Promise<RunningPod>;
  /** The same for a pod that ends by itself: resolves when its containers have started. */
  start(owner: string, stored: ApiObject): Promise<RunningPod>;
  /** Running pods of an owner. */
  pods(owner: string): readonly RunningPod[];
  /** Deletes a pod: SIGTERM at once, out of the EndpointSlices `endpointsAfterMs` (default 0) later, as controllers lag behind in a real cluster. */
  remove(pod: RunningPod, options?: { readonly endpointsAfterMs?: number; readonly graceMs?: number }): Promise<void>;
  /** Makes every Service of the API server known by its name in pods, and its EndpointSlices current. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** A network for pods that an API server can listen on before there is a node. */
export const makeNodeNetwork = createTestNetwork;

/** Registers the node. `network` is one that the API server listens on. */
export async function startNode(kubernetes: Kubernetes, network: ReturnType<typeof createTestNetwork>, kubelet = "v1.36.3"): Promise<Node> {
  const { api } = kubernetes;
  /** Filled with those of a pod's namespace before it starts. */
  const configMaps: Record<string, Readonly<Record<string, string>>> = {};
  const secrets: Record<string, Readonly<Record<string, string>>> = {};
  const runner = createPodRunner({
    network,
    configMaps,
    secrets,
    env: { KUBERNETES_SERVICE_HOST: kubernetes.host, KUBERNETES_SERVICE_PORT: String(kubernetes.port) },
    mintToken: ({ pod, facts, audience, expirationSeconds }) =>
      kubernetes.requestToken(facts.namespace, pod.spec.serviceAccountName ?? "default", {
        audiences: [audience],
        expirationSeconds,
        pod: { name: pod.metadata.name, uid: facts.uid },
      }),
  });
  const pods: DeployedPod[] = [];
  const leaving = new Set<RunningPod>();
  const published = new Map<string, string>();
  let closed = false;
  await registerNode(api, kubelet);

  const podPath = ({ facts, name }: { readonly facts: Pick<PodFacts, "namespace">; readonly name: string }) =>
    `/api/v1/namespaces/${facts.namespace}/pods/${name}`;
  const isReady = (pod: RunningPod) => pod.isReady() && !leaving.has(pod);

  async function readLiterals(namespace: string): Promise<void> {
    const read = async (plural: string) =>
      (await api.object(`/api/v1/namespaces/${namespace}/${plural}`))["items"] as ReadonlyArray<
        ApiObject & { readonly data?: Record<string, string> }
      >;
    for (const { metadata, data = {} } of await read("configmaps")) configMaps[metadata.name ?? ""] = data;
    for (const { metadata, data = {} } of await read("secrets")) {
      const decoded = Object.entries(data).map(([key, text]) => [key, Buffer.from(text, "base64").toString("utf8")] as const);
      secrets[metadata.name ?? ""] = Object.fromEntries(decoded);
    }
  }

  async function start(owner: string, stored: ApiObject): Promise<RunningPod> {
    const pod = stored as unknown as Pod; // what the API server stores has the shape of what the pod runner reads
    const namespace = stored.metadata.namespace ?? "default";
    const path = podPath({ facts: { namespace }, name: pod.metadata.name });
    await readLiterals(namespace);
    const running = await runner.startPod(pod, {
      async onScheduled(facts) {
        await api.call(`${path}/binding`, {
          body: { apiVersion: "v1", kind: "Binding", metadata: { name: pod.metadata.name }, target: { kind: "Node", name: NODE_NAME } },
        });
        await writeStatus(path, facts, false);
      },
    });
    pods.push({ owner, spec: pod, running });
    return running;
  }

  function writeStatus(path: string, facts: PodFacts, ready: boolean): Promise<unknown> {
    const [podIP = ""] = facts.podIps;
    const conditions = [{ type: "Ready", status: ready ? "True" : "False" }];
    const status = { phase: "Running", podIP, podIPs: facts.podIps.map((ip) => ({ ip })), hostIP: facts.hostIp, conditions };
    return api.call(`${path}/status`, { method: "PATCH", contentType: MERGE_PATCH, body: { status } });
  }

  /** Does `write` unless the same was written under this key before. */
  async function publish(key: string, state: unknown, write: () => Promise<unknown>): Promise<void> {
    const text = JSON.stringify(state);
    if (published.get(key) === text) return;
    await write();
    published.set(key, text);
  }

  async function publishSlices(service: ApiObject): Promise<void> {
    const spec = service["spec"] as ServiceSpec & { readonly ipFamilies?: readonly ("IPv4" | "IPv6")[] };
    if (spec.selector === undefined) return;
    const { name = "", namespace = "" } = service.metadata;
    for (const family of spec.ipFamilies ?? []) {
      const slice = endpointSlice(`${namespace}/${name}`, spec, family, pods, isReady);
      const path = `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`;
      await publish(`slice ${namespace}/${slice.metadata.name}`, slice, async () => {
        const replaced = await api.call(`${path}/${slice.metadata.name}`, { method: "PUT", body: slice }).catch(ifMissing);
        if (replaced === null) await api.call(path, { body: slice });
      });
    }
  }

  async function sync(): Promise<void> {
    for (const { running } of pods) {
      const ready = isReady(running);
      await publish(`pod ${running.facts.uid}`, ready, () => writeStatus(podPath(running), running.facts, ready).catch(ifMissing));
    }
    const services = (await api.object("/api/v1/services"))["items"] as readonly ApiObject[];
    for (const service of services) await publishSlices(service);
    runner.setHosts(services.flatMap(hostsOf));
  }

  /** In the place of cluster DNS. The control plane itself is not in the mesh, so its name leads to a pod: nothing here routes cluster addresses. */
  function hostsOf(service: ApiObject): readonly string[] {
    const { name = "", namespace = "" } = service.metadata;
    const { clusterIPs = [] } = service["spec"] as { readonly clusterIPs?: readonly string[] };
    const [ready] = pods.filter(({ owner, running }) => owner === `${namespace}/${name}` && isReady(running));
    const isControl = namespace === "remora-system";
    const [ipv4 = "", ipv6 = ""] = isControl ? [ready?.running.facts.podIps[0]] : clusterIPs;
    return hostLines(`${namespace}/${name}`, { spec: { ports: [] }, ipv4, ipv6 }).filter((line) => !line.startsWith(" "));
  }

  async function follow(): Promise<void> {
    while (!closed) {
      await serially(sync).catch((error: unknown) => {
        if (!closed) throw error;
      });
      await pause(FOLLOW_PERIOD_MS);
    }
  }

  let last: Promise<void> = Promise.resolve();
  function serially(run: () => Promise<void>): Promise<void> {
    last = last.catch(() => undefined).then(run);
    return last;
  }
  const following = follow();
  following.catch(() => undefined); // whoever waits for it is told

  return {
    runner,
    start,
    async run(owner, stored) {
      const running = await start(owner, stored);
      await running.ready(READY_TIMEOUT_MS);
      await serially(sync);
      return running;
    },
    pods: (owner) => pods.filter((pod) => pod.owner === owner).map(({ running }) => running),
    async remove(pod, { endpointsAfterMs = 0, graceMs } = {}) {
      const stopped = pod.stop(graceMs);
      await pause(endpointsAfterMs);
      leaving.add(pod);
      await serially(sync);
      await stopped;
      pods.splice(
        pods.findIndex(({ running }) => running === pod),
        1,
      );
      await api.call(`${podPath(pod)}?gracePeriodSeconds=0`, { method: "DELETE" }).catch(ifMissing);
    },
    sync: () => serially(sync),
    async close() {
      closed = true;
      await following.catch(() => undefined);
      await runner.close();
      network.close();
    },
  };
}

async function registerNode(api: Kubernetes["api"], kubelet: string): Promise<void> {
  const labels = { "kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": "linux" };
  await api.call("/api/v1/nodes", { body: { metadata: { name: NODE_NAME, labels } } });
  await setKubelet(api, kubelet);
}

/** Says which kubelet the node runs, and that it is ready. */
export async function setKubelet(api: Kubernetes["api"], kubeletVersion: string): Promise<void> {
  const nodeInfo = {
    kubeletVersion,
    architecture: "amd64",
    bootID: "",
    containerRuntimeVersion: "containerd://2.1.0",
    kernelVersion: "6.1.0",
    kubeProxyVersion: "",
    machineID: "",
    operatingSystem: "linux",
    osImage: "Debian GNU/Linux 12",
    systemUUID: "",
  };
  const now = new Date().toISOString();
  const ready = { type: "Ready", status: "True", reason: "KubeletReady", message: "", lastHeartbeatTime: now, lastTransitionTime: now };
  const body = { status: { nodeInfo, conditions: [ready] } };
  await api.call(`/api/v1/nodes/${NODE_NAME}/status`, { method: "PATCH", contentType: MERGE_PATCH, body });
}

function ifMissing(error: { readonly status?: number }): null {
  if (error.status !== 404) throw error;
  return null;
}
