// A small cluster for end-to-end tests: a Kubernetes API stand-in, a real `remora control`, the real injector, and the pod runner in the place of
// kubelets. Owns when things happen that controllers would do: pods from Deployments, addresses of Services, EndpointSlices that follow readiness, tokens.
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Test } from "tap";
import { parseAllDocuments } from "yaml";
import { type KubeApi, type KubeObject, startKubeApi } from "../support/kube-api.ts";
import type { ExecOptions, ExecResult } from "../support/pod-runner/container.ts";
import { REPOSITORY_MOUNT } from "../support/pod-runner/mount-script.ts";
import type { RunningPod } from "../support/pod-runner/pod.ts";
import { createPodRunner, FOLDER_PREFIX, type PodRunner } from "../support/pod-runner/pod-runner.ts";
import type { Literals, Pod } from "../support/pod-runner/pod-spec.ts";
import { admit, storeWebhookConfiguration } from "./admission.ts";
import { type ControlProcess, spawnControl, waitUntilReady } from "./control-process.ts";
import {
  type DeployedPod,
  endpointSlice,
  hostLines,
  isMeshed,
  isSelected,
  type Manifest,
  podObject,
  podsOf,
  type Service,
  type ServiceSpec,
  serviceObject,
} from "./kubernetes-objects.ts";
import { until } from "./until.ts";

const REPOSITORY = resolve(import.meta.dirname, "../..");
const CONTROL_NAMESPACE = "remora-system";
const WEBHOOK_PORT = 15017;
const READY_TIMEOUT_MS = 60_000;
const SHOWN_LOG_CHARS = 30_000;

export interface ClusterOptions {
  /** Namespaces with the label `remora.io/inject: enabled`. Default: shop. */
  readonly meshed?: readonly string[];
  /** Settings of the control plane, over the tests' own. */
  readonly control?: Readonly<Record<string, string>>;
  readonly configMaps?: Literals;
  /** Do not start a control plane; the test does. */
  readonly withoutControl?: boolean;
}

interface ControlPorts {
  readonly grpc: number;
  readonly admin: number;
}

export interface Cluster {
  readonly runner: PodRunner;
  readonly kube: KubeApi;
  readonly control: ControlProcess;
  /** All that were started, also those that ended. */
  readonly controls: readonly ControlProcess[];
  /** Starts another control plane (or the first again, with the same ports and state). Resolves when it is ready. */
  startControl(name: string, ports: ControlPorts, env?: Readonly<Record<string, string>>): Promise<ControlProcess>;
  /** Applies Services first, then runs every pod; resolves when all are ready and every control plane knows it. */
  apply(...manifests: readonly string[]): Promise<void>;
  /** The only or first pod of a Deployment, or a bare pod, by `namespace/name`. */
  pod(name: string): RunningPod;
  pods(name: string): readonly RunningPod[];
  /** Deletes a pod as Kubernetes does: out of the EndpointSlices at once, then stopped with its grace period. */
  deletePod(pod: RunningPod, graceMs?: number): Promise<void>;
  /** A Service's virtual addresses. */
  address(service: string): { readonly ipv4: string; readonly ipv6: string };
  /** Runs one of test/support/apps with this project's Node in a container. */
  runApp(pod: RunningPod, app: string, args: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  /** A service-account token as the API server would project it. */
  mintToken(namespace: string, serviceAccount: string): string;
  /** Lines of a sidecar's JSON log that carry `field`. */
  sidecarLog(pod: RunningPod): readonly Readonly<Record<string, unknown>>[];
  /** The sidecars' trust pins. */
  trustPins(): readonly string[];
}

/** Starts the cluster; everything is removed in the test's teardown, and all logs are shown when the test failed. */
export async function startCluster(t: Test, options: ClusterOptions = {}): Promise<Cluster> {
  const meshed = options.meshed ?? ["shop"];
  const folder = mkdtempSync(join(tmpdir(), `${FOLDER_PREFIX}${process.pid}-cluster-`));
  const kube = await startKubeApi();
  const services = new Map<string, Service>();
  const pods: DeployedPod[] = [];
  const terminating = new Set<RunningPod>();
  const controls: ControlProcess[] = [];
  const kubeconfig = join(folder, "kubeconfig");
  writeFileSync(kubeconfig, kube.kubeconfig());
  const runner = createPodRunner({
    mintToken: ({ pod, facts }) => mintToken(facts.namespace, pod.spec.serviceAccountName ?? "default"),
    configMaps: options.configMaps ?? {},
  });
  t.teardown(close);
  const { hostIpv4 } = runner.network;

  function mintToken(namespace: string, serviceAccount: string): string {
    const token = `token-of-${serviceAccount}-${randomUUID()}`;
    kube.allowToken(token, { username: `system:serviceaccount:${namespace}:${serviceAccount}`, audiences: ["remora.io"] });
    return token;
  }

  async function startControl(name: string, ports: ControlPorts, env: Readonly<Record<string, string>> = {}): Promise<ControlProcess> {
    const all = { webhook: WEBHOOK_PORT, ...ports };
    const control = spawnControl({ name, host: hostIpv4, ports: all, folder, kubeconfig, env: { ...options.control, ...env } });
    controls.push(control);
    await waitUntilReady(control);
    return control;
  }

  function trustPins(): readonly string[] {
    const data = kube.get("configmaps", CONTROL_NAMESPACE, "remora-trust")?.["data"] as { readonly pin?: string } | undefined;
    return (data?.pin ?? "").split(",").filter((pin) => pin !== "");
  }

  /** In the place of cluster DNS. The control plane's Service, as sidecars know it by default, leads to the host. */
  function writeHosts(): void {
    runner.setHosts([
      `${hostIpv4} remora-control.${CONTROL_NAMESPACE}.svc`,
      ...[...services].flatMap(([name, service]) => hostLines(name, service)),
    ]);
  }

  function addService(manifest: Manifest): void {
    const namespace = manifest.metadata.namespace ?? "default";
    const id = `${namespace}/${manifest.metadata.name}`;
    const index = services.size + 1;
    const [ipv4, ipv6] = [runner.network.virtualIpv4(index), runner.network.virtualIpv6(index)];
    const spec = manifest.spec as ServiceSpec;
    services.set(id, { spec, ipv4, ipv6 });
    kube.put("services", serviceObject(manifest, { spec, ipv4, ipv6 }));
    writeHosts();
  }

  async function runOne(owner: string, pod: Pod): Promise<void> {
    const namespace = pod.metadata.namespace ?? "default";
    const uid = randomUUID();
    const admitted = await admit(kube, { host: hostIpv4, port: WEBHOOK_PORT }, pod, namespace);
    const known: Pod = { ...admitted, metadata: { ...admitted.metadata, uid } };
    const running = await runner.startPod(known, { onScheduled: (facts) => void kube.put("pods", podObject(known, facts, false)) });
    pods.push({ owner, spec: known, running });
    await running.ready(READY_TIMEOUT_MS);
    publishEndpoints();
  }

  let published = "";
  /** EndpointSlices as the endpoint controller writes them, one per Service and family. */
  function publishEndpoints(): void {
    const isReady = (pod: RunningPod) => pod.isReady() && !terminating.has(pod);
    const state = pods.map(({ running }) => `${running.name} ${isReady(running)}`).join();
    if (state === published) return;
    published = state;
    for (const { spec, running } of pods) kube.put("pods", podObject(spec, running.facts, isReady(running)));
    for (const [id, service] of services) {
      for (const family of ["IPv4", "IPv6"] as const) kube.put("endpointslices", endpointSlice(id, service.spec, family, pods, isReady));
    }
  }
  const follower = setInterval(publishEndpoints, 100);

  /** Until the registry counts as many endpoints of each Service as there are meshed pods of it: it hears of them a moment after they are ready. */
  async function caughtUp(control: ControlProcess): Promise<void> {
    await until(`control plane ${control.name} knows every endpoint`, READY_TIMEOUT_MS, async () => {
      const known = (await control.api("/api/v1/services")) as { services: readonly { namespace: string; name: string; ready: number }[] };
      return [...services].every(([id, { spec }]) => {
        const wanted = pods.filter((pod) => isMeshed(pod) && isSelected(pod, id, spec)).length;
        return (known.services.find(({ namespace, name }) => `${namespace}/${name}` === id)?.ready ?? 0) >= wanted;
      });
    });
  }

  async function close(): Promise<void> {
    clearInterval(follower);
    if (!t.passing()) {
      for (const control of controls) t.comment(`control plane ${control.name}:\n${control.log().slice(-SHOWN_LOG_CHARS)}`);
      t.comment(runner.logs().slice(-SHOWN_LOG_CHARS));
    }
    await runner.close();
    await Promise.all(controls.filter((control) => control.isRunning()).map((control) => control.kill()));
    await kube.close();
    rmSync(folder, { recursive: true, force: true });
  }

  for (const name of [...meshed, "legacy"]) {
    const labels = { "kubernetes.io/metadata.name": name, ...(meshed.includes(name) ? { "remora.io/inject": "enabled" } : {}) };
    kube.put("namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } });
  }
  const webhook = parseAllDocuments(readFileSync(join(REPOSITORY, "manifests/base/webhook.yaml"), "utf8"))[0];
  storeWebhookConfiguration(kube, webhook?.toJS() as KubeObject);
  writeHosts();
  if (options.withoutControl !== true) await startControl("first", { grpc: 15010, admin: 15014 });

  return {
    runner,
    kube,
    get control() {
      return controls[0] as ControlProcess;
    },
    controls,
    startControl,
    async apply(...texts) {
      const manifests = texts
        .flatMap((text) => parseAllDocuments(text).map((document) => document.toJS() as Manifest | null))
        .filter((value) => value !== null);
      for (const manifest of manifests.filter((candidate) => candidate.kind === "Service")) addService(manifest);
      await Promise.all(
        manifests
          .filter(({ kind }) => kind === "Deployment" || kind === "Pod")
          .flatMap(podsOf)
          .map(({ owner, pod }) => runOne(owner, pod)),
      );
      await Promise.all(controls.filter((control) => control.isRunning() && control.roles.includes("registry")).map(caughtUp));
    },
    pod(name) {
      const found = pods.find(({ owner }) => owner === name);
      if (found === undefined) throw new Error(`there is no pod of ${name}`);
      return found.running;
    },
    pods: (name) => pods.filter(({ owner }) => owner === name).map(({ running }) => running),
    async deletePod(pod, graceMs) {
      terminating.add(pod);
      publishEndpoints();
      await pod.stop(graceMs);
      const at = pods.findIndex(({ running }) => running === pod);
      if (at >= 0) pods.splice(at, 1);
      kube.remove("pods", pod.facts.namespace, pod.name);
    },
    address(service) {
      const found = services.get(service);
      if (found === undefined) throw new Error(`there is no Service ${service}`);
      return found;
    },
    runApp: (pod, app, args, execOptions) =>
      pod.exec(
        "app",
        [`${REPOSITORY_MOUNT}/node_modules/.bin/node`, `${REPOSITORY_MOUNT}/test/support/apps/${app}.ts`, ...args],
        execOptions,
      ),
    mintToken,
    sidecarLog: (pod) => parseLog(pod.log("remora-sidecar")),
    trustPins,
  };
}

function parseLog(text: string): readonly Readonly<Record<string, unknown>>[] {
  return text
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as Record<string, unknown>];
      } catch {
        return []; // a line that is being written
      }
    });
}
