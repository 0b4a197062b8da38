// A small cluster for end-to-end tests: a Kubernetes API stand-in, a real `remora control`, the real injector, and the pod runner in the place of
// kubelets. Owns what controllers would do: pods from Deployments, addresses of Services, EndpointSlices that follow readiness, tokens.
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { get as httpGet } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Test } from "tap";
import { parseAllDocuments } from "yaml";
import { type KubeApi, type KubeObject, startKubeApi } from "../support/kube-api.ts";
import { REPOSITORY_MOUNT } from "../support/pod-runner/container.ts";
import type { ExecOptions, ExecResult } from "../support/pod-runner/container.ts";
import type { RunningPod } from "../support/pod-runner/pod.ts";
import { createPodRunner, FOLDER_PREFIX, type PodRunner } from "../support/pod-runner/pod-runner.ts";
import { type Pod, type PodFacts, type PodSpec, portNumber } from "../support/pod-runner/pod-spec.ts";
import { admit, storeWebhookConfiguration } from "./admission.ts";

const REPOSITORY = resolve(import.meta.dirname, "../..");
const CONTROL_NAMESPACE = "remora-system";
const WEBHOOK_PORT = 15017;
const READY_TIMEOUT_MS = 20_000;
const SHOWN_LOG_CHARS = 30_000;

export interface ClusterOptions {
  /** Namespaces with the label `remora.io/inject: enabled`. Default: shop. */
  readonly meshed?: readonly string[];
  /** Settings of the control plane, over the tests' own. */
  readonly control?: Readonly<Record<string, string>>;
  /** Do not start a control plane; the test does. */
  readonly withoutControl?: boolean;
}

/** A process of the control plane. */
export interface ControlProcess {
  readonly name: string;
  readonly grpcPort: number;
  readonly adminPort: number;
  readonly child: ChildProcess;
  log(): string;
  /** GET on its admin port, parsed. Health answers 503 when it is down, which is an error here. */
  api(path: string): Promise<unknown>;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
}

export interface Cluster {
  readonly runner: PodRunner;
  readonly kube: KubeApi;
  readonly control: ControlProcess;
  /** All that were started, also those that ended. */
  readonly controls: readonly ControlProcess[];
  /** Starts another control plane (or the first again, with the same ports and state). Resolves when it is ready. */
  startControl(name: string, ports: { grpc: number; admin: number }, env?: Readonly<Record<string, string>>): Promise<ControlProcess>;
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

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string> };
  readonly spec?: unknown;
}

interface ServiceSpec {
  readonly selector?: Readonly<Record<string, string>>;
  readonly ports: ReadonlyArray<{
    readonly name?: string;
    readonly port: number;
    readonly targetPort?: number | string;
    readonly appProtocol?: string;
  }>;
}

interface DeployedPod {
  /** `namespace/name` of the Deployment, or of the bare pod. */
  readonly owner: string;
  readonly spec: Pod;
  readonly running: RunningPod;
}

/** Starts the cluster; everything is removed in the test's teardown, and all logs are shown when the test failed. */
export async function startCluster(t: Test, options: ClusterOptions = {}): Promise<Cluster> {
  const meshed = options.meshed ?? ["shop"];
  const folder = mkdtempSync(join(tmpdir(), `${FOLDER_PREFIX}${process.pid}-cluster-`));
  const kube = await startKubeApi();
  const services = new Map<string, { readonly spec: ServiceSpec; readonly ipv4: string; readonly ipv6: string }>();
  const pods: DeployedPod[] = [];
  const terminating = new Set<RunningPod>();
  const controls: ControlProcess[] = [];
  const kubeconfig = join(folder, "kubeconfig");
  writeFileSync(kubeconfig, kube.kubeconfig());
  const runner = createPodRunner({ mintToken: ({ pod, facts }) => mintToken(facts.namespace, pod.spec.serviceAccountName ?? "default") });
  t.teardown(close);
  const { hostIpv4 } = runner.network;

  function mintToken(namespace: string, serviceAccount: string): string {
    const token = `token-of-${serviceAccount}-${randomUUID()}`;
    kube.allowToken(token, { username: `system:serviceaccount:${namespace}:${serviceAccount}`, audiences: ["remora.io"] });
    return token;
  }

  async function startControl(
    name: string,
    ports: { grpc: number; admin: number },
    env: Readonly<Record<string, string>> = {},
  ): Promise<ControlProcess> {
    const child = spawn(join(REPOSITORY, "bin/remora"), ["control"], {
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env["PATH"],
        HOME: folder,
        KUBECONFIG: kubeconfig,
        REMORA_KUBERNETES: "on",
        REMORA_ROLES: "ca,registry,injector",
        REMORA_BIND_ADDRESS: hostIpv4,
        REMORA_GRPC_PORT: String(ports.grpc),
        REMORA_ADMIN_PORT: String(ports.admin),
        REMORA_WEBHOOK_PORT: String(WEBHOOK_PORT),
        REMORA_STATE_DIR: join(folder, `state-${name}`),
        REMORA_HEARTBEAT_INTERVAL: "1s",
        REMORA_LEASE: "3s",
        ...options.control,
        ...env,
      },
    });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (more: string) => (text += more));
    const exited = new Promise<void>((done) => child.once("exit", () => done()));
    const api = (path: string) => getJson(`http://${hostIpv4}:${ports.admin}${path}`);
    const control: ControlProcess = {
      name,
      grpcPort: ports.grpc,
      adminPort: ports.admin,
      child,
      log: () => text,
      api,
      async kill() {
        child.kill("SIGKILL");
        await exited;
      },
    };
    controls.push(control);
    await until(`control plane ${name}`, READY_TIMEOUT_MS, async () => {
      if (child.exitCode !== null) throw new Error(`control plane ${name} ended with ${child.exitCode}:\n${text}`);
      return (await api("/ready").catch(() => null)) !== null;
    });
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
    const ports = spec.ports.map((port) => ({ protocol: "TCP", targetPort: port.port, ...port }));
    kube.put("services", {
      apiVersion: "v1",
      kind: "Service",
      metadata: { ...manifest.metadata, namespace },
      spec: { type: "ClusterIP", selector: spec.selector, ports, clusterIP: ipv4, clusterIPs: [ipv4, ipv6], ipFamilies: ["IPv4", "IPv6"] },
    });
    writeHosts();
  }

  function podsOf(manifest: Manifest): { owner: string; pod: Pod }[] {
    const namespace = manifest.metadata.namespace ?? "default";
    const owner = `${namespace}/${manifest.metadata.name}`;
    if (manifest.kind === "Pod") return [{ owner, pod: { metadata: { ...manifest.metadata, namespace }, spec: manifest.spec as PodSpec } }];
    const { replicas = 1, template } = manifest.spec as { replicas?: number; template: { metadata: object; spec: PodSpec } };
    return Array.from({ length: replicas }, (_, i) => ({
      owner,
      pod: { metadata: { ...template.metadata, namespace, name: `${manifest.metadata.name}-${i}` }, spec: structuredClone(template.spec) },
    }));
  }

  async function runOne(owner: string, pod: Pod): Promise<void> {
    const namespace = pod.metadata.namespace ?? "default";
    const uid = randomUUID();
    const admitted = await admit(kube, { host: hostIpv4, port: WEBHOOK_PORT }, pod, namespace);
    const known: Pod = { ...admitted, metadata: { ...admitted.metadata, uid } };
    const running = await runner.startPod(known, { onScheduled: (facts) => storePod(known, facts, false) });
    pods.push({ owner, spec: known, running });
    await running.ready(READY_TIMEOUT_MS);
    publishEndpoints();
  }

  function storePod(pod: Pod, facts: PodFacts, isReady: boolean): void {
    kube.put("pods", {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { ...structuredClone(pod.metadata), namespace: facts.namespace, uid: facts.uid } as never, // a pod's metadata is a Kubernetes object's
      spec: { ...structuredClone(pod.spec), nodeName: facts.nodeName },
      status: {
        phase: "Running",
        podIP: facts.podIps[0],
        podIPs: facts.podIps.map((ip) => ({ ip })),
        conditions: [{ type: "Ready", status: isReady ? "True" : "False" }],
      },
    });
  }

  let published = "";
  /** EndpointSlices as the endpoint controller writes them, one per Service and family. */
  function publishEndpoints(): void {
    const isReady = (pod: RunningPod) => pod.isReady() && !terminating.has(pod);
    const state = pods.map(({ running }) => `${running.name} ${isReady(running)}`).join();
    if (state === published) return;
    published = state;
    for (const { spec, running } of pods) storePod(spec, running.facts, isReady(running));
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
    await Promise.all(
      controls.map((control) => (control.child.exitCode === null && control.child.signalCode === null ? control.kill() : null)),
    );
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
      await Promise.all(controls.filter(({ child }) => child.exitCode === null && child.signalCode === null).map(caughtUp));
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

/** Polls until `isTrue` says so. @throws Error naming `what` after `timeoutMs` */
export async function until(what: string, timeoutMs: number, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = Date.now() + timeoutMs;
  while (!(await isTrue())) {
    if (Date.now() > deadlineMs) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

function hostLines(id: string, { ipv4, ipv6 }: { readonly ipv4: string; readonly ipv6: string }): readonly string[] {
  const [namespace = "", name = ""] = id.split("/");
  const names = `${name}.${namespace} ${name}.${namespace}.svc ${name}.${namespace}.svc.cluster.local ${name}`;
  return [`${ipv4} ${names}`, `${ipv6} ${names}`];
}

function isMeshed({ spec: { spec } }: DeployedPod): boolean {
  return [...(spec.initContainers ?? []), ...spec.containers].some(({ name }) => name === "remora-sidecar");
}

function isSelected({ spec: pod }: DeployedPod, service: string, { selector = {} }: ServiceSpec): boolean {
  const isSameNamespace = service.startsWith(`${pod.metadata.namespace ?? "default"}/`);
  return isSameNamespace && Object.entries(selector).every(([label, value]) => pod.metadata.labels?.[label] === value);
}

function endpointSlice(
  id: string,
  spec: ServiceSpec,
  family: "IPv4" | "IPv6",
  pods: readonly DeployedPod[],
  isReady: (pod: RunningPod) => boolean,
) {
  const [namespace = "", name = ""] = id.split("/");
  const selected = pods.filter((pod) => isSelected(pod, id, spec));
  const targetOf = (port: ServiceSpec["ports"][number]) => {
    const target = port.targetPort ?? port.port;
    const containers = selected[0]?.spec.spec.containers ?? [];
    const container =
      typeof target === "number" ? containers[0] : containers.find(({ ports }) => ports?.some(({ name: portName }) => portName === target));
    return container === undefined ? 0 : portNumber(container, target);
  };
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: `${name}-${family.toLowerCase()}`, namespace, labels: { "kubernetes.io/service-name": name } },
    addressType: family,
    ports: spec.ports.map((port) => ({
      name: port.name ?? "",
      port: targetOf(port),
      protocol: "TCP",
      ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
    })),
    endpoints: selected.map(({ running }) => ({
      addresses: [running.facts.podIps[family === "IPv4" ? 0 : 1] ?? ""],
      conditions: { ready: isReady(running), serving: running.isReady(), terminating: running.isReady() && !isReady(running) },
      targetRef: { kind: "Pod", name: running.name, namespace, uid: running.facts.uid },
    })),
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

function getJson(url: string): Promise<unknown> {
  return new Promise((done, fail) => {
    const request = httpGet(url, { timeout: 2_000, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (more: string) => (text += more));
      response.on("end", () => {
        if (response.statusCode !== 200) return fail(new Error(`${url}: status ${response.statusCode} ${text}`));
        try {
          done(JSON.parse(text));
        } catch {
          done(text);
        }
      });
    });
    request.on("timeout", () => request.destroy(new Error(`${url}: no answer`)));
    request.on("error", fail);
  });
}
