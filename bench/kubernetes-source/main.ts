// `npm run bench -- kubernetes-source`: what a large cluster costs the registry that watches it. A real kube-apiserver serves the Services, EndpointSlices
// and Pods, which are written straight into its etcd; the source runs in a process of its own, which measures itself.
import { fork } from "node:child_process";
import { writeFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Test } from "tap";
import { startKubernetes } from "../../test/support/kubernetes/kubernetes.ts";
import { clusterObjects, type StoredObject } from "./cluster-objects.ts";
import type { SourceCost } from "./measure-main.ts";

const OBJECTS_PER_WRITE = 100;
const CHANGES = 1_000;
const LIFE_MS = 15 * 60_000;
const SETTLE_TIMEOUT_MS = 300_000;

/** Runs it and prints one line for each figure. */
export async function runKubernetesSourceBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { services: { type: "string", default: "10000" }, pods: { type: "string", default: "50000" } },
  });
  const [services, pods] = [Number(values.services), Number(values.pods)];
  const cleanups: (() => unknown)[] = [];
  // All that is asked of a test here is a place to tidy up.
  const scope = { teardown: (run: () => unknown) => void cleanups.push(run) } as unknown as Test;
  try {
    const kubernetes = await startKubernetes(scope, { lifeMs: LIFE_MS });
    await fill(kubernetes.etcdUrl, clusterObjects(services, pods));
    const folder = mkdtempSync(join(tmpdir(), "remora-bench-"));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const path = join(folder, "kubeconfig");
    writeFileSync(path, kubeconfigOf(kubernetes.url, kubernetes.caPem, kubernetes.adminToken), { mode: 0o600 });
    const cost = await measure(path, async (changed) => {
      await changeSlices(kubernetes.api, Math.min(CHANGES, services), changed);
    });
    report(services, pods, cost);
  } finally {
    for (const run of cleanups.toReversed()) await run();
  }
}

/** Writes objects as the API server would store them; it reads JSON too. */
async function fill(etcdUrl: string, objects: Iterable<StoredObject>): Promise<void> {
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  let batch: object[] = [];
  const write = async () => {
    const response = await fetch(`${etcdUrl}/v3/kv/txn`, { method: "POST", body: JSON.stringify({ success: batch }) });
    if (!response.ok) throw new Error(`etcd: ${response.status} ${await response.text()}`);
    await response.arrayBuffer();
    batch = [];
  };
  for (const { key, object } of objects) {
    batch.push({ requestPut: { key: base64(key), value: base64(JSON.stringify(object)) } });
    if (batch.length === OBJECTS_PER_WRITE) await write();
  }
  if (batch.length > 0) await write();
}

type ApiClient = Awaited<ReturnType<typeof startKubernetes>>["api"];

/** A rollout: one slice after the other says that a pod is not ready. */
async function changeSlices(api: ApiClient, count: number, changed: () => void): Promise<void> {
  const patch = [{ op: "replace", path: "/endpoints/0/conditions/ready", value: false }];
  for (let at = 0; at < count; at += 1) {
    const path = `/apis/discovery.k8s.io/v1/namespaces/ns-${at % 50}/endpointslices/service-${at}-x`;
    await api.call(path, { method: "PATCH", contentType: "application/json-patch+json", body: patch });
    changed();
  }
}

/** Runs the source in a process of its own until `change` has run. */
function measure(kubeconfig: string, change: (changed: () => void) => Promise<void>): Promise<SourceCost> {
  return new Promise((resolve, reject) => {
    const child = fork(join(import.meta.dirname, "measure-main.ts"), [kubeconfig], { execArgv: ["--expose-gc"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), SETTLE_TIMEOUT_MS);
    child.on("exit", (code) => {
      clearTimeout(timer);
      reject(new Error(`the source ended with ${code}`));
    });
    child.on("message", (message) => {
      if (message === "synced") {
        change(() => {}).then(
          () => child.send("changed"),
          (error: unknown) => {
            reject(error instanceof Error ? error : new Error(String(error)));
            child.kill("SIGKILL");
          },
        );
        return;
      }
      resolve(message as SourceCost); // the only other message
      child.disconnect();
    });
  });
}

function report(services: number, pods: number, cost: SourceCost): void {
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const lines = [
    `${services} services, ${services} slices with ${cost.endpoints} endpoints, ${pods} pods; held: ${cost.held}`,
    `first lists: ${(cost.listMs / 1000).toFixed(1)} s, of which CPU ${(cost.listCpuMs / 1000).toFixed(1)} s; longest stall of the event loop ${cost.stallMs.toFixed(0)} ms`,
    `private memory: ${mib(cost.privateBefore)} with the client library loaded, ${mib(cost.privateAfter)} with all objects; heap ${mib(cost.heapBefore)} -> ${mib(cost.heapAfter)}`,
    `${cost.changes} slices changed: CPU ${((cost.changeCpuMs * 1000) / Math.max(1, cost.changes)).toFixed(0)} us each, longest stall ${cost.changeStallMs.toFixed(0)} ms`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}

function kubeconfigOf(server: string, caPem: string, token: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "bench", cluster: { server, "certificate-authority-data": Buffer.from(caPem).toString("base64") } }],
    users: [{ name: "bench", user: { token } }],
    contexts: [{ name: "bench", context: { cluster: "bench", user: "bench" } }],
    "current-context": "bench",
  });
}
