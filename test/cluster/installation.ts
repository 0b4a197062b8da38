// Remora on a real API server, installed as its users install it: `kubectl apply -k manifests/base`, then its Deployments' pods run with the accounts
// and settings that the manifests give them. What a cluster test starts with.
import { resolve } from "node:path";
import type { Test } from "tap";
import { until } from "../e2e/until.ts";
import type { ApiClient, ApiObject } from "../support/kubernetes/api-client.ts";
import { createPodOf } from "../support/kubernetes/controllers.ts";
import { furnishNamespace, type Kubernetes, KUBERNETES_PROGRAMS, startKubernetes } from "../support/kubernetes/kubernetes.ts";
import { makeNodeNetwork, type Node, startNode } from "../support/kubernetes/node.ts";
import type { RunningPod } from "../support/pod-runner/pod.ts";
import { requires } from "../support/requires.ts";

export const CONTROL_NAMESPACE = "remora-system";
/** Owner of its pods, as the node knows them. */
export const INJECTOR = `${CONTROL_NAMESPACE}/remora-injector`;
const BASE = resolve(import.meta.dirname, "../../manifests/base");
const SHOWN_LOG_CHARS = 40_000;
/** The webhook's CA is in the configuration a moment after the injector is ready, and the API server's watch another one after that. */
const SETTLE_TIMEOUT_MS = 60_000;

/** For the `skip` of a cluster test. */
export const lacksCluster: false | string = requires("root", "ip", "iptables", ...KUBERNETES_PROGRAMS);

export interface Installation {
  readonly kubernetes: Kubernetes;
  readonly node: Node;
  /** Runs one more pod of a Deployment of the control plane. */
  startReplica(deployment: "remora-control" | "remora-injector"): Promise<RunningPod>;
  /** Applies YAML or JSON as the administrator. @throws Error with what kubectl says when it fails */
  apply(manifest: string): Promise<string>;
  /** Lines that the injectors have logged about admissions, oldest first in each. */
  admissions(): readonly AdmissionLine[];
  /** A pod of the stored workload, created as its controller would, by `kind/namespace/name`. */
  createPodOf(kind: string, namespace: string, name: string): Promise<ApiObject>;
  /** A namespace whose pods get sidecars. The injector follows labels a moment later: it knows this one's when the promise resolves. */
  createMeshed(namespace: string): Promise<void>;
}

/** What an injector logs of one review. */
export interface AdmissionLine {
  readonly namespace?: string;
  /** The pod's name, or its prefix and `*`. */
  readonly pod?: string;
  /** The name of what is no pod. */
  readonly name?: string;
  readonly result?: "injected" | "skipped" | "refused" | "error";
  readonly reason?: string;
  readonly dryRun?: boolean;
}

export interface InstallationOptions {
  /** Pods of the injector's Deployment. Default 1. */
  readonly injectors?: number;
  /** More arguments of kube-apiserver. */
  readonly apiServerArgs?: readonly string[];
  /** Runs when everything is applied and nothing of Remora runs yet. */
  readonly beforeStart?: (kubernetes: Kubernetes) => Promise<void>;
}

/** Starts everything and resolves when a pod can be injected and a workload refused. All is removed in the test's teardown; logs are shown when the test failed. */
export async function install(
  t: Test,
  { injectors = 1, apiServerArgs = [], beforeStart }: InstallationOptions = {},
): Promise<Installation> {
  const network = makeNodeNetwork();
  t.teardown(() => network.close());
  const kubernetes = await startKubernetes(t, { host: network.hostIpv4, args: apiServerArgs });
  const node = await startNode(kubernetes, network);
  t.teardown(async () => {
    if (!t.passing()) t.comment(node.runner.logs().slice(-SHOWN_LOG_CHARS));
    if (!t.passing()) t.comment(kubernetes.log());
    await node.close();
  });
  await kubectl(kubernetes, ["apply", "-k", BASE]);
  await furnishNamespace(kubernetes.api, CONTROL_NAMESPACE, kubernetes.caPem);
  await beforeStart?.(kubernetes);

  async function startReplica(name: string): Promise<RunningPod> {
    const deployment = await stored(kubernetes, "Deployment", CONTROL_NAMESPACE, name);
    return node.run(`${CONTROL_NAMESPACE}/${name}`, await createPodOf(kubernetes.api, deployment));
  }
  await startReplica("remora-control");
  for (let i = 0; i < injectors; i += 1) await startReplica("remora-injector");
  await untilInjecting(kubernetes);
  await untilRefusing(kubernetes, "default", { "remora.io/inject": "enabled" });

  return {
    kubernetes,
    node,
    startReplica,
    apply: (manifest) => kubectl(kubernetes, ["apply", "-f", "-"], manifest),
    admissions: () => node.pods(INJECTOR).flatMap((pod) => parseAdmissions(pod.log("injector"))),
    createPodOf: async (kind, namespace, name) => createPodOf(kubernetes.api, await stored(kubernetes, kind, namespace, name)),
    async createMeshed(namespace) {
      await kubernetes.createNamespace(namespace, { labels: { "remora.io/inject": "enabled" } });
      await untilRefusing(kubernetes, namespace, {});
    },
  };
}

function parseAdmissions(log: string): readonly AdmissionLine[] {
  const lines = log.split("\n").filter((line) => line.includes('"admission '));
  return lines.map((line) => {
    const parsed = JSON.parse(line) as AdmissionLine;
    return { ...parsed, result: parsed.result ?? "error" };
  });
}

/** Standard output of kubectl. @throws Error with its standard error when it fails */
export async function kubectl({ kubectl: run }: Pick<Kubernetes, "kubectl">, args: readonly string[], stdin?: string): Promise<string> {
  const { code, stdout, stderr } = await run(args, stdin === undefined ? {} : { stdin });
  if (code !== 0) throw new Error(`kubectl ${args.join(" ")} ended with ${code}: ${stderr}`);
  return stdout;
}

async function stored(kubernetes: Kubernetes, kind: string, namespace: string, name: string): Promise<ApiObject> {
  return JSON.parse(await kubectl(kubernetes, ["get", kind, name, "-n", namespace, "-o", "json"])) as ApiObject;
}

/** Until a pod that asks for a sidecar is admitted with one, in a dry run. */
async function untilInjecting({ api, log }: Kubernetes): Promise<void> {
  const pod = {
    metadata: { name: "asking", labels: { "remora.io/inject": "enabled" } },
    spec: { containers: [{ name: "app", image: "busybox" }] },
  };
  let refusal: string | null = null;
  await until("a pod can be injected", SETTLE_TIMEOUT_MS, async () => {
    refusal = await refusalOf(api, "/api/v1/namespaces/default/pods", pod);
    return refusal === null;
  }).catch((cause: unknown) => {
    throw new Error(`no pod can be injected: ${refusal}\n${log()}`, { cause });
  });
}

/** Until a Deployment with a bad annotation, whose pods have these labels, is refused in a dry run. */
async function untilRefusing({ api }: Kubernetes, namespace: string, more: Readonly<Record<string, string>>): Promise<void> {
  const labels = { app: "asking", ...more };
  const template = {
    metadata: { labels, annotations: { "remora.io/mode": "lax" } },
    spec: { containers: [{ name: "app", image: "busybox" }] },
  };
  const deployment = { metadata: { name: "asking" }, spec: { selector: { matchLabels: labels }, template } };
  await until(`mistakes are refused in namespace ${namespace}`, SETTLE_TIMEOUT_MS, async () =>
    ((await refusalOf(api, `/apis/apps/v1/namespaces/${namespace}/deployments`, deployment)) ?? "").includes("remora refuses it"),
  );
}

/** What the API server says against creating it, in a dry run; null when it would. */
function refusalOf(api: ApiClient, path: string, body: object): Promise<string | null> {
  return api.call(`${path}?dryRun=All`, { body }).then(
    () => null,
    (error: Error) => error.message,
  );
}
