// The checks against answers from a table: what each says of a cluster that is well, of one that is not, and of one that does not tell.
import { generateKeyPairSync, randomBytes, X509Certificate } from "node:crypto";
import t from "tap";
import type { ApiAnswer, CheckApi } from "../../cli/check/api.ts";
import { CATEGORIES } from "../../cli/check/check.ts";
import { CHECKS } from "../../cli/check/checks.ts";
import { createCluster } from "../../cli/check/cluster.ts";
import { formatJson, formatText } from "../../cli/check/format.ts";
import { restartCommands } from "../../cli/check/restart.ts";
import { isHealthy, type Outcome, runChecks } from "../../cli/check/run-checks.ts";
import { baseFolder } from "../../cli/install-command.ts";
import { createPaint } from "../../cli/paint.ts";
import { createCertificate, randomSerial, selfIssuer } from "../../core/x509/certificate.ts";
import { toPem } from "../../core/x509/pem.ts";
import { formatPin } from "../../core/x509/pin.ts";
import { formatMarker } from "../../injector/patch/marker.ts";
import { readInstallation } from "../../injector/installation.ts";
import { makeWebhookMaterial, serviceNames } from "../../injector/webhook/webhook-certificate.ts";

const NOW_MS = Date.parse("2026-06-01T00:00:00Z");
const DAY_MS = 86_400_000;
const NS = "/api/v1/namespaces/remora-system";
const APPS = "/apis/apps/v1/namespaces/remora-system/deployments";
const shipped = await readInstallation(baseFolder());

type Answers = Record<string, unknown>;

/** An object of the table; lists are given as arrays. `undefined` is answered 404, a number with that status. */
function fakeApi(answers: Answers, denied: (attributes: Readonly<Record<string, string>>) => boolean): CheckApi {
  return {
    server: "https://test",
    async call(method, path, body): Promise<ApiAnswer> {
      const answer = (status: number, found: unknown): ApiAnswer => ({ status, body: found, dateMs: NOW_MS });
      const key = path.replace(/\?limit=\d+$/, "");
      if (method === "POST" && path.includes("accessreviews")) {
        const { spec } = body as { readonly spec: { readonly resourceAttributes: Readonly<Record<string, string>> } };
        return answer(201, { status: { allowed: !denied(spec.resourceAttributes) } });
      }
      const found = answers[key];
      if (typeof found === "number") return answer(found, { message: "no" });
      if (Array.isArray(found)) return answer(200, { items: found, metadata: {} });
      if (found !== undefined) return answer(method === "POST" ? 201 : 200, found);
      return /s$/.test(key) && !key.includes("/remora-") ? answer(200, { items: [], metadata: {} }) : answer(404, { message: "not found" });
    },
  };
}

const base64 = (text: string) => Buffer.from(text).toString("base64");

function makeCa(endMs: number) {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const der = createCertificate({
    publicKey,
    issuer: selfIssuer(privateKey, "test"),
    commonName: "test",
    names: {},
    isCa: true,
    keyUsage: ["keyCertSign"],
    extendedKeyUsage: [],
    serial: randomSerial(randomBytes),
    notBeforeMs: NOW_MS - DAY_MS,
    notAfterMs: endMs,
  });
  return {
    pem: toPem(der, "CERTIFICATE"),
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    pin: formatPin(new X509Certificate(der).raw),
  };
}

const CA = makeCa(NOW_MS + 3650 * DAY_MS);
const MATERIAL = makeWebhookMaterial(serviceNames("remora-injector", "remora-system"), NOW_MS - DAY_MS, randomBytes, null);

function shippedObject(kind: string, name: string): Record<string, unknown> {
  const found = shipped.find((object) => object["kind"] === kind && (object["metadata"] as { readonly name: string }).name === name);
  return structuredClone(found) as Record<string, unknown>;
}

function webhooks(kind: "Mutating" | "Validating"): Record<string, unknown> {
  const object = shippedObject(`${kind}WebhookConfiguration`, "remora-injector") as { webhooks: { clientConfig: { caBundle?: string } }[] };
  for (const webhook of object.webhooks) webhook.clientConfig.caBundle = base64(MATERIAL.caBundlePem);
  return object;
}

function meshedPod(name: string, changes: { readonly version?: string; readonly pin?: string } = {}) {
  const marker = formatMarker({
    version: changes.version ?? "0.1.0",
    sidecar: "native",
    capture: "transparent",
    defaultContainer: false,
    made: {},
    probes: {},
  });
  return {
    metadata: {
      name,
      namespace: "shop",
      uid: `uid-${name}`,
      creationTimestamp: new Date(NOW_MS - DAY_MS).toISOString(),
      annotations: { "remora.io/injected": marker },
      labels: { "pod-template-hash": "7d9f8c6b5d" },
      ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: "web-7d9f8c6b5d", uid: "u", controller: true }],
    },
    spec: {
      nodeName: "n1",
      initContainers: [
        {
          name: "remora-sidecar",
          image: "remora:0.1.0",
          restartPolicy: "Always",
          env: [{ name: "REMORA_TRUST_PIN", value: changes.pin ?? CA.pin }],
        },
      ],
      containers: [{ name: "app", image: "app" }],
    },
    status: { phase: "Running", initContainerStatuses: [{ name: "remora-sidecar", ready: true }] },
  };
}

/** A cluster in which all is well. */
function healthy(): Answers {
  const available = (name: string) => ({ ...shippedObject("Deployment", name), status: { availableReplicas: 2 } });
  const slice = (name: string) => ({
    metadata: { labels: { "kubernetes.io/service-name": name } },
    endpoints: [{ addresses: ["10.0.0.1"], conditions: { ready: true } }],
  });
  const instance = {
    instanceId: "uid-web-1",
    state: "ready",
    version: "0.1.0",
    channel: "",
    services: ["web"],
    certExpiresAtMs: NOW_MS + DAY_MS,
    load: null,
  };
  const names = { labels: { "remora.io/inject": "enabled" } };
  const proxy = `${NS}/services/remora-control:admin/proxy/api/v1/instances`;
  return {
    "/version": { gitVersion: "v1.36.3" },
    "/apis/admissionregistration.k8s.io/v1": { resources: [{ name: "x" }] },
    "/apis/authentication.k8s.io/v1": { resources: [{ name: "x" }] },
    "/apis/discovery.k8s.io/v1": { resources: [{ name: "x" }] },
    "/api/v1/nodes": [{ metadata: { name: "n1" }, status: { nodeInfo: { kubeletVersion: "v1.36.3", operatingSystem: "linux" } } }],
    [NS]: { metadata: { name: "remora-system" } },
    [`${APPS}/remora-control`]: available("remora-control"),
    [`${APPS}/remora-injector`]: available("remora-injector"),
    [`${NS}/services/remora-control`]: {},
    [`${NS}/services/remora-injector`]: {},
    "/apis/discovery.k8s.io/v1/namespaces/remora-system/endpointslices": [slice("remora-control"), slice("remora-injector")],
    "/apis/policy/v1/namespaces/remora-system/poddisruptionbudgets/remora-injector": {},
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/remora-injector": webhooks("Mutating"),
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/remora-injector": webhooks("Validating"),
    [`${NS}/secrets/remora-injector-tls`]: {
      data: {
        "tls.crt": base64(MATERIAL.certificatePem),
        "tls.key": base64(MATERIAL.privateKeyPem),
        "ca.crt": base64(MATERIAL.caBundlePem),
      },
    },
    [`${NS}/secrets/remora-ca`]: { data: { "tls.crt": base64(CA.pem), "tls.key": base64(CA.key) } },
    [`${NS}/configmaps/remora-trust`]: { data: { pin: CA.pin, "ca.crt": CA.pem } },
    [`${NS}/serviceaccounts/remora-control`]: {},
    [`${NS}/serviceaccounts/remora-injector`]: {},
    [`${NS}/serviceaccounts/remora-control/token?dryRun=All`]: {},
    "/api/v1/namespaces/default/pods?dryRun=All": { spec: { containers: [{ name: "app" }], initContainers: [{ name: "remora-sidecar" }] } },
    "/api/v1/namespaces": [{ metadata: { name: "shop", ...names } }, { metadata: { name: "kube-system" } }],
    "/api/v1/pods": [
      meshedPod("web-1"),
      {
        metadata: { name: "remora-control-1", namespace: "remora-system", uid: "c", labels: { "app.kubernetes.io/part-of": "remora" } },
        spec: { nodeName: "n1", containers: [{ name: "control", image: "remora:0.1.0" }] },
        status: { phase: "Running" },
      },
    ],
    [`${NS}/pods/remora-control-1:15014/proxy/api/v1/info`]: {},
    [`${proxy}?namespace=remora-check`]: { instances: [], total: 0, degraded: false },
    [`${proxy}?namespace=shop`]: { instances: [instance], total: 1, degraded: false },
  };
}

/** Outcomes after the healthy answers were changed. */
async function outcomes(
  change: Answers = {},
  denied: (attributes: Readonly<Record<string, string>>) => boolean = () => false,
): Promise<readonly Outcome[]> {
  const api = fakeApi({ ...healthy(), ...change }, denied);
  const checks = CHECKS.filter(({ when }) => when !== "before");
  return runChecks(checks, createCluster({ api, controlNamespace: "remora-system", shipped, nowMs: () => NOW_MS, registry: null }));
}

t.test("the table of checks", async (t) => {
  t.ok(CHECKS.length >= 30, String(CHECKS.length));
  t.equal(new Set(CHECKS.map(({ id }) => id)).size, CHECKS.length, "ids are unique");
  for (const [index, check] of CHECKS.entries()) {
    t.match(check.doc, /\.$/, `${check.id} says why it matters`);
    for (const id of check.needs ?? [])
      t.ok(
        CHECKS.slice(0, index).some((one) => one.id === id),
        `${check.id} comes after ${id}`,
      );
  }
  t.same([...new Set(CHECKS.map(({ category }) => category))].sort(), [...CATEGORIES].sort());
});

t.test("a cluster that is well", async (t) => {
  const found = await outcomes();
  t.same(
    found.filter(({ result }) => result !== "ok").map(({ check, detail }) => `${check.id}: ${detail}`),
    [],
  );
  t.ok(isHealthy(found));
});

/** Each breakage, and what is said of it. */
const BREAKAGES: readonly {
  readonly name: string;
  readonly id: string;
  readonly change: () => Answers;
  readonly detail: RegExp;
  readonly fix: RegExp;
}[] = [
  {
    name: "an old API server",
    id: "api-version",
    change: () => ({ "/version": { gitVersion: "v1.27.4" } }),
    detail: /^it is v1\.27\.4$/,
    fix: /^upgrade/,
  },
  {
    name: "an old kubelet",
    id: "kubelets",
    change: () => ({ "/api/v1/nodes": [{ metadata: { name: "old" }, status: { nodeInfo: { kubeletVersion: "v1.27.1" } } }] }),
    detail: /^old \(v1\.27\.1\) is older$/,
    fix: /kubectl cordon old$/,
  },
  {
    name: "another mesh",
    id: "other-meshes",
    change: () => ({
      "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations": [
        { metadata: { name: "istio-sidecar-injector" }, webhooks: [{ rules: [{ resources: ["pods"] }] }] },
      ],
    }),
    detail: /Istio \(istio-sidecar-injector\)/,
    fix: /remora\.io\/inject=enabled/,
  },
  {
    name: "one replica of the injector",
    id: "injector-replicas",
    change: () => ({ [`${APPS}/remora-injector`]: { spec: { replicas: 1 }, status: { availableReplicas: 1 } } }),
    detail: /^it has 1$/,
    fix: /^kubectl -n remora-system scale deployment\/remora-injector --replicas=2$/,
  },
  {
    name: "no available replica",
    id: "available-remora-control",
    change: () => ({ [`${APPS}/remora-control`]: { spec: { replicas: 1 }, status: {} } }),
    detail: /^0 of 1 replicas/,
    fix: /describe pods/,
  },
  {
    name: "two registries without a store",
    id: "redis-configured",
    change: () => ({ [`${APPS}/remora-control`]: { spec: { replicas: 2 }, status: { availableReplicas: 2 } } }),
    detail: /2 replicas keep leases in their own memory/,
    fix: /--replicas=1$/,
  },
  {
    name: "a CA that ends soon",
    id: "ca-days",
    change: () => {
      const soon = makeCa(NOW_MS + 12 * DAY_MS);
      return {
        [`${NS}/secrets/remora-ca`]: { data: { "tls.crt": base64(soon.pem), "tls.key": base64(soon.key) } },
        [`${NS}/configmaps/remora-trust`]: { data: { pin: soon.pin, "ca.crt": soon.pem } },
      };
    },
    detail: /^12 days are left$/,
    fix: /^remora ca rotate --plan --kubernetes/,
  },
  {
    name: "a CA that has ended",
    id: "ca-valid",
    change: () => {
      const over = makeCa(NOW_MS - 1000);
      return { [`${NS}/secrets/remora-ca`]: { data: { "tls.crt": base64(over.pem), "tls.key": base64(over.key) } } };
    },
    detail: /^it ended on 2026-05-31/,
    fix: /remora-ca/,
  },
  {
    name: "a trust bundle of another CA",
    id: "trust-bundle",
    change: () => ({ [`${NS}/configmaps/remora-trust`]: { data: { pin: "sha256:00", "ca.crt": CA.pem } } }),
    detail: /^it pins sha256:00, a root of the CA is sha256:/,
    fix: /rollout restart deployment\/remora-control$/,
  },
  {
    name: "pods with the pin of an earlier CA",
    id: "trust-in-pods",
    change: () => ({ "/api/v1/pods": [meshedPod("web-1", { pin: "sha256:00" })] }),
    detail: /^shop\/web-1$/,
    fix: /^kubectl -n shop delete pod web-1 /,
  },
  {
    name: "a webhook certificate that nobody renews",
    id: "webhook-renewed",
    change: () => {
      const old = makeWebhookMaterial(serviceNames("remora-injector", "remora-system"), NOW_MS - 80 * DAY_MS, randomBytes, null);
      return {
        [`${NS}/secrets/remora-injector-tls`]: {
          data: { "tls.crt": base64(old.certificatePem), "tls.key": base64(old.privateKeyPem), "ca.crt": base64(old.caBundlePem) },
        },
      };
    },
    detail: /10 days are left$/,
    fix: /delete secret remora-injector-tls/,
  },
  {
    name: "a sidecar of long ago",
    id: "sidecar-versions",
    change: () => ({ "/api/v1/pods": [meshedPod("web-1", { version: "0.4.0" })] }),
    detail: /^shop\/web-1 \(0\.4\.0\); the control plane is 0\.1\.0$/,
    fix: /^kubectl -n shop rollout restart deployment\/web$/,
  },
  {
    name: "a Job that its sidecar keeps",
    id: "finished-jobs",
    change: () => {
      const { metadata, spec } = meshedPod("night-x");
      const ownerReferences = [{ apiVersion: "batch/v1", kind: "Job", name: "night", uid: "j", controller: true }];
      const containerStatuses = [
        { name: "app", state: { terminated: { exitCode: 0 } } },
        { name: "remora-sidecar", state: { running: {} } },
      ];
      return { "/api/v1/pods": [{ metadata: { ...metadata, ownerReferences }, spec, status: { phase: "Running", containerStatuses } }] };
    },
    detail: /^shop\/night-x$/,
    fix: /remora\.io\/native-sidecar=true/,
  },
  {
    name: "a default that cannot be meant",
    id: "namespace-annotations",
    change: () => ({ "/api/v1/namespaces": [{ metadata: { name: "shop", annotations: { "remora.io/mode": "soft" } } }] }),
    detail: /^namespace shop, annotation remora\.io\/mode: "soft" is not allowed/,
    fix: /^kubectl annotate namespace shop remora\.io\/mode-$/,
  },
  {
    name: "a pod behind its channel",
    id: "channel-versions",
    change: () => ({ [`${NS}/configmaps/remora-platform`]: { data: { "platform.yaml": 'channels: { stable: "0.2.0" }' } } }),
    detail: /^shop\/web-1 \(0\.1\.0, stable is 0\.2\.0\)$/,
    fix: /^kubectl -n shop rollout restart deployment\/web$/,
  },
  {
    name: "an opt-out that is forbidden but not guarded",
    id: "opt-out-guarded",
    change: () => ({ [`${NS}/configmaps/remora-platform`]: { data: { "platform.yaml": "enforced: { optOut: { forbiddenIn: ['*'] } }" } } }),
    detail: /opt-out\.remora\.io is ignored/,
    fix: /overlays\/no-opt-out$/,
  },
  {
    name: "a restricted namespace",
    id: "pod-security",
    change: () => ({
      "/api/v1/namespaces": [
        { metadata: { name: "vault", labels: { "remora.io/inject": "enabled", "pod-security.kubernetes.io/enforce": "restricted" } } },
      ],
    }),
    detail: /^vault$/,
    fix: /^kubectl annotate namespace vault remora\.io\/capture=auto$/,
  },
  {
    name: "a quota that is used up",
    id: "room-for-sidecars",
    change: () => ({
      "/api/v1/resourcequotas": [
        { metadata: { name: "q", namespace: "shop" }, status: { hard: { "requests.cpu": "1" }, used: { "requests.cpu": "990m" } } },
      ],
    }),
    detail: /^shop\/q$/,
    fix: /edit resourcequota q/,
  },
  {
    name: "a label in the wrong case",
    id: "pod-labels",
    change: () => {
      const pod = meshedPod("web-1");
      return {
        "/api/v1/pods": [{ ...pod, metadata: { ...pod.metadata, labels: { ...pod.metadata.labels, "remora.io/inject": "Disabled" } } }],
      };
    },
    detail: /^shop\/web-1 \("Disabled"\)$/,
    fix: /^kubectl -n shop patch deployment web -p '\{/,
  },
  {
    name: "a sidecar that nobody hears of",
    id: "heartbeats",
    change: () => ({ [`${NS}/services/remora-control:admin/proxy/api/v1/instances?namespace=shop`]: { instances: [], total: 0 } }),
    detail: /^shop\/web-1$/,
    fix: /logs web-1 -c remora-sidecar$/,
  },
  {
    name: "a certificate that is not renewed",
    id: "workload-certificates",
    change: () => ({
      [`${NS}/services/remora-control:admin/proxy/api/v1/instances?namespace=shop`]: {
        instances: [{ instanceId: "uid-web-1", certExpiresAtMs: NOW_MS + 60_000 }],
        total: 1,
      },
    }),
    detail: /^shop\/web-1$/,
    fix: /rollout restart deployment\/web$/,
  },
  {
    name: "a registry without its Redis",
    id: "registry-answers",
    change: () => ({
      [`${NS}/services/remora-control:admin/proxy/api/v1/instances?namespace=remora-check`]: { instances: [], total: 0, degraded: true },
    }),
    detail: /degraded/,
    fix: /logs deployment\/remora-control/,
  },
];

for (const { name, id, change, detail, fix } of BREAKAGES) {
  t.test(`a cluster with ${name}`, async (t) => {
    const found = (await outcomes(change())).find(({ check }) => check.id === id);
    t.match(found, { result: "failed", detail, fix });
  });
}

t.test("one command restarts all that can be restarted", async (t) => {
  const of = (kind: string, name: string, namespace = "shop") => ({ namespace, kind, name });
  t.equal(
    restartCommands([
      of("Deployment", "web"),
      of("Deployment", "web"),
      of("StatefulSet", "db"),
      of("Job", "night"),
      of("DaemonSet", "log", "ops"),
    ]),
    "kubectl -n shop rollout restart deployment/web statefulset/db && kubectl -n ops rollout restart daemonset/log",
  );
  t.equal(restartCommands([of("Pod", "alone")]), "kubectl -n shop delete pod alone    # and make it anew");
});

t.test("what is not told is neither well nor broken", async (t) => {
  const found = await outcomes({ "/api/v1/nodes": 403, [`${NS}/secrets/remora-ca`]: 403 });
  const of = (id: string) => found.find(({ check }) => check.id === id);
  t.match(of("kubelets"), { result: "unknown", detail: /^you may not look: / });
  t.match(of("ca-secret"), { result: "unknown" });
  t.match(of("ca-valid"), { result: "skipped", detail: "only where the CA's Secret holds a certificate and the key that belongs to it" });
  t.notOk(isHealthy(found), "an error that was not looked for may be there");
});

t.test("a missing right is named with its resource", async (t) => {
  const found = await outcomes({}, ({ resource, verb }) => resource === "limitranges" && verb === "watch");
  t.match(
    found.find(({ check }) => check.id === "rights-remora-injector"),
    { result: "failed", detail: "it may not watch limitranges", fix: "remora install | kubectl apply -f -" },
  );
});

t.test("the output for people and for programs", async (t) => {
  const found = await outcomes({ [`${NS}/configmaps/remora-trust`]: undefined, "/api/v1/nodes": 403 });
  const text = formatText(found, createPaint({}, {}));
  t.match(text, /^Kubernetes\n√ the API server answers \(v1\.36\.3\)\n/);
  t.match(
    text,
    /\n× the roots that new sidecars are told to believe include the CA's\n {4}there is no ConfigMap remora-system\/remora-trust\n(?: {4}.*\n)+ {4}fix: kubectl -n remora-system rollout restart deployment\/remora-control\n/,
  );
  t.match(text, /\n\? every kubelet is of version 1\.29 or later\n {4}could not be checked: you may not look: /);
  t.match(text, /1 does not, 0 warnings, 2 not made: not well\n$/);
  const json = JSON.parse(formatJson(found)) as { readonly healthy: boolean; readonly checks: readonly object[] };
  t.equal(json.healthy, false);
  t.same(Object.keys(json.checks[0] ?? {}), ["id", "category", "title", "severity", "result", "detail", "fix", "doc"]);
});
