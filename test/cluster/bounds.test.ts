// Namespaces with bounds of their own: LimitRanges, ResourceQuotas and Pod Security levels, as the API server's own admission holds them against the pod
// after the injector. A pod that would have been admitted without a sidecar is admitted with one, or refused by Remora in a sentence of its own; never
// by Kubernetes because of a container that nobody wrote.
import t, { type Test } from "tap";
import { until } from "../e2e/until.ts";
import type { ApiClient, ApiError, ApiObject } from "../support/kubernetes/api-client.ts";
import type { Kubernetes } from "../support/kubernetes/kubernetes.ts";
import { install, lacksCluster } from "./installation.ts";
import { isInjected, sidecarOf, type StoredPod, storedPod } from "./stored-pod.ts";

t.setTimeout(800_000);

const SETTLE_MS = 60_000;
/** A namespace with sidecars and without bounds. */
const UNBOUNDED = "unbounded";
const CONTAINER = "Container";

/** LimitRanges by name: what they say of containers and pods. */
const RANGES: Readonly<Record<string, readonly object[]>> = {
  defaults: [{ type: CONTAINER, default: { cpu: "500m", memory: "128Mi" }, defaultRequest: { cpu: "100m", memory: "64Mi" } }],
  "tiny-memory": [{ type: CONTAINER, max: { memory: "32Mi" } }],
  "small-memory": [{ type: CONTAINER, max: { memory: "128Mi" } }],
  "tiny-cpu": [{ type: CONTAINER, max: { cpu: "20m" } }],
  "large-least": [{ type: CONTAINER, min: { cpu: "250m", memory: "300Mi" } }],
  ratio: [{ type: CONTAINER, maxLimitRequestRatio: { memory: "1", cpu: "2" } }],
  "pod-sum": [{ type: "Pod", max: { memory: "256Mi", cpu: "400m" } }],
  "pod-least": [{ type: "Pod", min: { memory: "1Gi" } }],
  both: [
    { type: CONTAINER, min: { memory: "100Mi" }, max: { memory: "200Mi", cpu: "1" }, default: { memory: "150Mi", cpu: "200m" } },
    { type: "Pod", max: { memory: "500Mi" }, maxLimitRequestRatio: { memory: "4" } },
  ],
};

/** Hard bounds of ResourceQuotas by name; nothing is used yet. The last one can be told by what sidecars get. */
const QUOTAS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "requests-demanded": { "requests.cpu": "4", "requests.memory": "4Gi" },
  "little-left": { "requests.memory": "70Mi" },
  "one-pod": { pods: "1" },
  "limits-demanded": { "limits.cpu": "4", "limits.memory": "4Gi" },
};

const RESOURCES = { requests: { cpu: "50m", memory: "40Mi" }, limits: { cpu: "100m", memory: "100Mi" } };

/** Pods of all sizes, each with and without resources of its own. */
const PODS: Readonly<Record<string, object>> = {
  plain: { containers: [{ name: "app", image: "busybox" }] },
  sized: { containers: [{ name: "app", image: "busybox", resources: RESOURCES }] },
  small: { containers: [{ name: "app", image: "busybox", resources: { limits: { cpu: "10m", memory: "16Mi" } } }] },
  large: {
    containers: [
      { name: "app", image: "busybox", resources: { requests: { cpu: "1", memory: "1Gi" }, limits: { cpu: "1", memory: "1Gi" } } },
    ],
  },
  two: { containers: ["one", "two"].map((name) => ({ name, image: "busybox", resources: RESOURCES })) },
  whole: { resources: { limits: { memory: "200Mi", cpu: "300m" } }, containers: [{ name: "app", image: "busybox" }] },
};

const STRICT = {
  runAsNonRoot: true,
  runAsUser: 1000,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  seccompProfile: { type: "RuntimeDefault" },
};

type Outcome = { readonly pod: StoredPod } | { readonly refusal: string };

async function create(api: ApiClient, namespace: string, spec: object, annotations: object = {}): Promise<Outcome> {
  const body = { metadata: { generateName: "a-", annotations }, spec };
  return api.object(`/api/v1/namespaces/${namespace}/pods?dryRun=All`, { body }).then(
    (stored: ApiObject) => ({ pod: storedPod(stored) }),
    (error: ApiError) => ({ refusal: error.message }),
  );
}

/** Two namespaces that differ only in that one is in the mesh. */
async function createPair(kubernetes: Kubernetes, name: string, fill: (namespace: string) => Promise<unknown>, labels = {}): Promise<void> {
  await kubernetes.createNamespace(`${name}-plain`, { labels });
  await kubernetes.createNamespace(`${name}-meshed`, { labels: { ...labels, "remora.io/inject": "enabled" } });
  await fill(`${name}-plain`);
  await fill(`${name}-meshed`);
}

/** What a sidecar gets there, as text; of a pod that is refused, why. */
async function resourcesIn(api: ApiClient, namespace: string): Promise<string> {
  const outcome = await create(api, namespace, PODS["sized"] ?? {});
  return "pod" in outcome ? JSON.stringify(sidecarOf(outcome.pod)?.["resources"]) : outcome.refusal;
}

/** Holds the pod in the mesh against the one outside. */
async function compare(t: Test, api: ApiClient, name: string, spec: object, what: string): Promise<void> {
  const plain = await create(api, `${name}-plain`, spec);
  if ("refusal" in plain) return; // nobody could run it here
  const meshed = await create(api, `${name}-meshed`, spec);
  if ("pod" in meshed) t.ok(isInjected(meshed.pod), `${what} is admitted ${JSON.stringify(sidecarOf(meshed.pod)?.["resources"])}`);
  else t.match(meshed.refusal, /remora refuses the pod \(resource_bounds\): /, `${what}: ${meshed.refusal}`);
}

t.test("bounds", { skip: lacksCluster }, async (t) => {
  const { kubernetes, createMeshed } = await install(t);
  const { api } = kubernetes;

  await createMeshed(UNBOUNDED);
  for (const [name, limits] of Object.entries(RANGES)) {
    await createPair(kubernetes, `range-${name}`, (namespace) =>
      api.call(`/api/v1/namespaces/${namespace}/limitranges`, { body: { metadata: { name }, spec: { limits } } }),
    );
  }
  for (const [name, hard] of Object.entries(QUOTAS)) {
    await createPair(kubernetes, `quota-${name}`, async (namespace) => {
      const path = `/api/v1/namespaces/${namespace}/resourcequotas`;
      const quota = await api.object(path, { body: { metadata: { name }, spec: { hard } } });
      // A controller counts what is used; until it has, the API server refuses everything.
      const used = Object.fromEntries(Object.keys(hard).map((key) => [key, "0"]));
      await api.call(`${path}/${name}/status`, { method: "PUT", body: { ...quota, status: { hard, used } } });
    });
  }
  // Both the API server's admission and the injector watch them, each kind in the order of writing.
  const unbounded = await resourcesIn(api, UNBOUNDED);
  for (const last of [`range-${Object.keys(RANGES).at(-1)}`, `quota-${Object.keys(QUOTAS).at(-1)}`])
    await until(`the injector knows what bounds ${last}`, SETTLE_MS, async () => (await resourcesIn(api, `${last}-meshed`)) !== unbounded);

  for (const name of Object.keys(RANGES)) {
    t.test(`LimitRange ${name}`, async (t) => {
      for (const [pod, spec] of Object.entries(PODS)) await compare(t, api, `range-${name}`, spec, pod);
    });
  }

  for (const name of Object.keys(QUOTAS)) {
    t.test(`ResourceQuota ${name}`, async (t) => {
      for (const [pod, spec] of Object.entries(PODS)) {
        const plain = await create(api, `quota-${name}-plain`, spec);
        if ("refusal" in plain) continue;
        const meshed = await create(api, `quota-${name}-meshed`, spec);
        // A quota that is used up is Kubernetes' own to refuse: it names the quota, and counts pods of anybody.
        if ("pod" in meshed) t.ok(isInjected(meshed.pod), `${pod} is admitted`);
        else t.match(meshed.refusal, /resource_bounds|exceeded quota/, `${pod}: ${meshed.refusal}`);
        if ("refusal" in meshed) t.notMatch(meshed.refusal, /must specify/, "what the quota demands of containers, ours have");
      }
    });
  }

  for (const level of ["baseline", "restricted"] as const) {
    t.test(`Pod Security level ${level}`, async (t) => {
      const namespace = `security-${level}`;
      await kubernetes.createNamespace(namespace, {
        labels: { "remora.io/inject": "enabled", "pod-security.kubernetes.io/enforce": level },
      });
      const spec = { containers: [{ name: "app", image: "busybox", securityContext: STRICT }] };
      const usual = () => create(api, namespace, spec);
      await until("the injector knows the namespace", SETTLE_MS, async () => "refusal" in (await usual()));
      const refused = await usual();
      t.match("refusal" in refused && refused.refusal, /remora refuses the pod \(pod_security\): /);
      t.match("refusal" in refused && refused.refusal, "remora.io/capture", "and says what helps");
      for (const capture of ["explicit", "auto"]) {
        const answer = await create(api, namespace, spec, { "remora.io/capture": capture });
        t.ok("pod" in answer && isInjected(answer.pod), `${capture}: ${"refusal" in answer ? answer.refusal : "admitted"}`);
      }
      await kubernetes.kubectl(["annotate", "namespace", namespace, "remora.io/capture=auto"]);
      await until("the namespace's default holds", SETTLE_MS, async () => "pod" in (await usual()));
    });
  }
});
