// Many workloads on the real API server without a process for each: Deployments, pods that went through admission, and heartbeats of what would be their
// sidecars, sent to the real registry. Stands in for controllers and kubelets: a template that changes gives a new pod, and the old one leaves.
import { Agent, request } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import type { Test } from "tap";
import type { ApiObject } from "../support/kubernetes/api-client.ts";
import { createPodOf } from "../support/kubernetes/controllers.ts";
import type { Kubernetes } from "../support/kubernetes/kubernetes.ts";
import { NODE_NAME } from "../support/kubernetes/node.ts";

const MERGE_PATCH = "application/merge-patch+json";
const FOLLOW_MS = 300;
const AT_ONCE = 6;

/** How the sidecars of one version do: per heartbeat. */
export interface Behaviour {
  readonly requests: number;
  readonly errors: number;
  readonly refused: number;
  /** False: it starts and is never heard of. */
  readonly beats: boolean;
}

/** A workload's only pod. */
export interface SimulatedPod {
  readonly uid: string;
  readonly name: string;
  /** Null without a sidecar. */
  readonly version: string | null;
}

export interface SimulatedWorkloads {
  /** The pod of a Deployment, by its name. */
  pod(name: string): SimulatedPod | undefined;
  /** Names of the Deployments whose pod has that version. */
  withVersion(version: string | null): readonly string[];
  /** How often each Deployment got a new pod. */
  readonly replaced: ReadonlyMap<string, number>;
}

export interface SimulationOptions {
  readonly kubernetes: Kubernetes;
  readonly namespace: string;
  readonly names: readonly string[];
  /** `http://host:port` of the registry's admin port. */
  readonly registry: string;
  readonly heartbeatMs: number;
  readonly behaviour: (version: string) => Behaviour;
  readonly annotations?: (name: string) => Readonly<Record<string, string>>;
}

/** Makes all of them, and resolves when each was heard of. Ends with the test. */
export async function simulateWorkloads(t: Test, options: SimulationOptions): Promise<SimulatedWorkloads> {
  const { kubernetes, namespace, names, registry, heartbeatMs, behaviour } = options;
  const { api } = kubernetes;
  const token = await kubernetes.requestToken(namespace, "default", { audiences: ["remora.io"] });
  const pods = new Map<string, SimulatedPod>();
  const restartedAt = new Map<string, string>();
  const replaced = new Map<string, number>();
  const beating = new Set<Promise<void>>();
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  /** A sidecar's first word waits for nobody. */
  const firsts = new Agent({ keepAlive: true, maxSockets: 16 });
  let addresses = 0;
  let closed = false;

  async function makePod(deployment: ApiObject): Promise<void> {
    const name = deployment.metadata.name ?? "";
    const stored = await createPodOf(api, deployment);
    const before = pods.get(name);
    addresses += 1;
    const podIP = `10.77.${addresses >> 8}.${addresses & 255}`;
    const status = { phase: "Running", podIP, podIPs: [{ ip: podIP }], conditions: [{ type: "Ready", status: "True" }] };
    const path = `/api/v1/namespaces/${namespace}/pods`;
    await api.call(`${path}/${stored.metadata.name}/status`, { method: "PATCH", contentType: MERGE_PATCH, body: { status } });
    const marker = stored.metadata.annotations?.["remora.io/injected"];
    const version = marker === undefined ? null : (JSON.parse(marker) as { readonly version: string }).version;
    const pod = { uid: stored.metadata.uid ?? "", name: stored.metadata.name ?? "", version };
    pods.set(name, pod);
    if (version !== null && behaviour(version).beats) {
      const run = beat(name, pod, version, podIP).finally(() => beating.delete(run));
      beating.add(run);
    }
    if (before === undefined) return;
    replaced.set(name, (replaced.get(name) ?? 0) + 1);
    await api.call(`${path}/${before.name}?gracePeriodSeconds=0`, { method: "DELETE" });
  }

  /** Heartbeats of one sidecar, until its pod is replaced: then it says that it leaves. */
  async function beat(name: string, pod: SimulatedPod, version: string, address: string): Promise<void> {
    const epoch = Date.now();
    let [requests, errors, refused] = [0, 0, 0];
    let isFirst = true;
    while (!closed) {
      const leaving = pods.get(name) !== pod;
      const does = behaviour(version);
      requests += does.requests;
      errors += does.errors;
      refused += does.refused;
      const load = { inFlight: 0, rps: does.requests, p99Ms: 1, errorRatio: 0, requests, errors, refused };
      const message = {
        instanceId: pod.uid,
        epoch,
        services: [],
        addresses: [address],
        version,
        channel: "stable",
        state: "ready",
        load,
        leaving,
      };
      // One that was not heard is like any lost heartbeat: the next one comes.
      await announce(message, isFirst).catch((error: unknown) => {
        if (!closed) t.comment(`a heartbeat got no answer: ${String(error)}`);
      });
      if (leaving) return;
      isFirst = false;
      await pause(heartbeatMs * (0.9 + 0.2 * Math.random()));
    }
  }

  /** Over a few connections in turn: the admin port is not made for one of each sidecar, as the gRPC port is. */
  function announce(body: object, isFirst: boolean): Promise<void> {
    const text = JSON.stringify(body);
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    return new Promise((done, fail) => {
      const sent = request(
        `${registry}/api/v1/heartbeat`,
        { method: "POST", agent: isFirst ? firsts : agent, headers, timeout: 30_000 },
        (answer) => {
          // 403: the pod went a moment before its sidecar said so.
          if (answer.statusCode !== 200 && answer.statusCode !== 403 && !closed) t.comment(`a heartbeat was answered ${answer.statusCode}`);
          answer.resume().on("end", done).on("error", fail);
        },
      );
      sent.on("timeout", () => sent.destroy(new Error("no answer")));
      sent.on("error", fail);
      sent.end(text);
    });
  }

  /** In the place of the Deployment controller: a template that was changed gives a new pod. */
  async function follow(): Promise<void> {
    while (!closed) {
      const { items } = (await api.object(`/apis/apps/v1/namespaces/${namespace}/deployments?resourceVersion=0`)) as unknown as {
        items: readonly ApiObject[];
      };
      const changed = items.filter((item) => {
        const name = item.metadata.name ?? "";
        const stamp = stampOf(item);
        return pods.has(name) && stamp !== "" && restartedAt.get(name) !== stamp;
      });
      await inTurns(changed, async (deployment) => {
        restartedAt.set(deployment.metadata.name ?? "", stampOf(deployment));
        await makePod({ ...deployment, kind: "Deployment", apiVersion: "apps/v1" });
      });
      await pause(FOLLOW_MS);
    }
  }

  await inTurns(names, async (name) => {
    await makePod(
      await api.object(`/apis/apps/v1/namespaces/${namespace}/deployments`, {
        body: deploymentOf(name, options.annotations?.(name) ?? {}),
      }),
    );
  });
  const following = follow().catch((error: unknown) => {
    if (!closed) t.fail(`the stand-in for controllers failed: ${String(error)}`);
  });
  t.teardown(async () => {
    closed = true;
    await following;
    await Promise.allSettled(beating);
    agent.destroy();
    firsts.destroy();
  });
  return {
    pod: (name) => pods.get(name),
    withVersion: (version) => [...pods].filter(([, pod]) => pod.version === version).map(([name]) => name),
    replaced,
  };
}

function stampOf(deployment: ApiObject): string {
  const { template } = deployment["spec"] as {
    readonly template: { readonly metadata?: { readonly annotations?: Readonly<Record<string, string>> } };
  };
  return template.metadata?.annotations?.["kubectl.kubernetes.io/restartedAt"] ?? "";
}

function deploymentOf(name: string, annotations: Readonly<Record<string, string>>): ApiObject {
  const labels = { app: name };
  const spec = { nodeName: NODE_NAME, containers: [{ name: "app", image: "busybox" }] };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name },
    spec: { replicas: 1, selector: { matchLabels: labels }, template: { metadata: { labels, annotations }, spec } },
  };
}

/** Runs a few at once. */
async function inTurns<Item>(items: readonly Item[], run: (item: Item) => Promise<void>): Promise<void> {
  const waiting = [...items];
  const worker = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await run(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
