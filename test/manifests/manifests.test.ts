// The manifests: what kubectl renders, what `remora install` prints, and that every object is as safe as it claims.
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import t from "tap";
import { parseAllDocuments } from "yaml";
import { loadControlConfig } from "../../cli/control/config.ts";
import { changeInstallation, formatInstallation, type KubernetesObject, readInstallation } from "../../injector/installation.ts";
import { injectPod } from "../../injector/inject.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { noSurroundings } from "../../injector/surroundings.ts";
import { WATCHED_KINDS } from "../../registry/kubernetes-api.ts";
import { findProgram, requires } from "../support/requires.ts";

const run = promisify(execFile);
const folder = (name: string) => fileURLToPath(new URL(`../../manifests/${name}`, import.meta.url));
const MAIN = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}
interface Variable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: object;
}
interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly rules?: readonly Rule[];
  readonly webhooks?: readonly Record<string, unknown>[];
  readonly spec?: {
    readonly replicas?: number;
    readonly selector?: { readonly matchLabels?: Record<string, string> } & Record<string, unknown>;
    readonly ports?: readonly { readonly port: number; readonly targetPort: string }[];
    readonly template?: {
      readonly metadata: { readonly labels: Record<string, string> };
      readonly spec: {
        readonly containers: readonly {
          readonly env: readonly Variable[];
          readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
          readonly livenessProbe: object;
          readonly readinessProbe: object;
          readonly resources: { readonly requests: object; readonly limits: object };
          readonly securityContext: object;
        }[];
        readonly securityContext: object;
        readonly affinity: object;
        readonly enableServiceLinks: boolean;
      };
    };
    readonly minAvailable?: number;
  };
}

function read(text: string): Manifest[] {
  return parseAllDocuments(text, { version: "1.1" }).map((document) => document.toJS() as Manifest);
}

async function render(name: string): Promise<Manifest[]> {
  return read((await run(findProgram("kubectl") ?? "kubectl", ["kustomize", folder(name)])).stdout);
}

const nameOf = ({ kind, metadata }: Manifest) => `${kind}/${metadata.name}`;
const byName = (a: Manifest, b: Manifest) => (nameOf(a) < nameOf(b) ? -1 : 1);
const base = (await readInstallation(folder("base"))) as unknown as Manifest[];
const find = (objects: readonly Manifest[], name: string) => objects.find((object) => nameOf(object) === name) as Manifest;

/** The variables of a Deployment as its pod would see them, with stand-ins for what the cluster fills in. */
function environmentOf(deployment: Manifest): Record<string, string> {
  const env = deployment.spec?.template?.spec.containers[0]?.env ?? [];
  const filled: Record<string, string> = {
    REMORA_CONTROL_NAMESPACE: "remora-system",
    REMORA_REDIS_URL: "redis://:secret@redis:6379/0",
    REMORA_WATCH_ROLES: "who=shop/* what=*",
  };
  return Object.fromEntries(
    env.map(({ name, value }) => [
      name,
      value?.replace(/\$\(([A-Z_]+)\)/g, (_, other: string) => filled[other] ?? "") ?? filled[name] ?? `nothing is known of ${name}`,
    ]),
  );
}

t.test("kubectl and `remora install` give the same objects", { skip: requires("kubectl") }, async (t) => {
  const installed = read((await run(process.execPath, [MAIN, "install"])).stdout);
  t.strictSame([...installed].sort(byName), (await render("base")).sort(byName));
});

t.test("the installation is complete", async (t) => {
  t.strictSame(base.map(nameOf).sort(), [
    "ClusterRole/remora-control",
    "ClusterRole/remora-injector",
    "ClusterRole/remora-overseer",
    "ClusterRoleBinding/remora-control",
    "ClusterRoleBinding/remora-injector",
    "ClusterRoleBinding/remora-overseer",
    "Deployment/remora-control",
    "Deployment/remora-injector",
    "MutatingWebhookConfiguration/remora-injector",
    "Namespace/remora-system",
    "PodDisruptionBudget/remora-injector",
    "Role/remora-control",
    "Role/remora-injector",
    "Role/remora-overseer",
    "RoleBinding/remora-control",
    "RoleBinding/remora-injector",
    "RoleBinding/remora-overseer",
    "Service/remora-control",
    "Service/remora-injector",
    "ServiceAccount/remora-control",
    "ServiceAccount/remora-injector",
    "ServiceAccount/remora-reader",
    "ValidatingWebhookConfiguration/remora-injector",
  ]);
  t.equal(find(base, "Deployment/remora-injector").spec?.replicas, 2);
  t.equal(find(base, "Deployment/remora-control").spec?.replicas, 1);
});

t.test("nobody may do more than its work needs", async (t) => {
  for (const { rules = [], ...object } of base.filter(({ kind }) => kind.endsWith("Role"))) {
    for (const rule of rules) {
      const text = `${nameOf(object)}: ${JSON.stringify(rule)}`;
      t.notOk([...rule.apiGroups, ...rule.resources, ...rule.verbs].includes("*"), text);
      t.notOk(
        rule.verbs.some((verb) => ["delete", "deletecollection", "escalate", "bind", "impersonate"].includes(verb)),
        text,
      );
      const sensitive = rule.resources.some((name) =>
        ["secrets", "configmaps", "mutatingwebhookconfigurations", "validatingwebhookconfigurations"].includes(name),
      );
      if (sensitive && !rule.verbs.includes("create")) t.ok((rule.resourceNames ?? []).length > 0, `by name only: ${text}`);
      if (rule.resources.includes("secrets")) t.equal(object.kind, "Role", `in its own namespace only: ${text}`);
    }
  }
});

t.test("the registry may read what it watches, and nothing else", (t) => {
  const rules = find(base, "ClusterRole/remora-control").rules ?? [];
  const reads = rules.filter(({ verbs }) => verbs.some((verb) => ["get", "list", "watch"].includes(verb)));
  t.strictSame(reads.flatMap(({ resources }) => resources).sort(), [...WATCHED_KINDS].sort());
  for (const { verbs } of reads) t.strictSame(verbs, ["list", "watch"]);
  t.end();
});

t.test("every Deployment runs restricted, probed, bounded and spread", async (t) => {
  for (const deployment of base.filter(({ kind }) => kind === "Deployment")) {
    const pod = deployment.spec?.template?.spec;
    const [container] = pod?.containers ?? [];
    t.match(pod?.securityContext, { runAsNonRoot: true, runAsUser: 1337, seccompProfile: { type: "RuntimeDefault" } }, nameOf(deployment));
    t.match(container?.securityContext, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } });
    t.match(container, { livenessProbe: { httpGet: { path: "/live" } }, readinessProbe: { httpGet: { path: "/ready" } } });
    t.match(container?.resources, { requests: { cpu: String, memory: String }, limits: { memory: String } });
    t.ok(pod?.affinity);
    t.equal(pod?.enableServiceLinks, false, "or REMORA_CONTROL_PORT of the Service would look like a setting");
    t.match(deployment.spec?.template?.metadata.labels, deployment.spec?.selector?.matchLabels ?? {});
  }
});

t.test("the control plane understands the settings of both Deployments", async (t) => {
  const control = loadControlConfig(environmentOf(find(base, "Deployment/remora-control")));
  t.match(control, { inKubernetes: true, bindAddress: "::", store: "memory", stateDir: null, controlNamespace: "remora-system" });
  t.strictSame([...control.roles], ["ca", "registry"]);
  t.strictSame(
    control.meshReaders,
    ["remora-injector", "remora-reader"].map((serviceAccount) => ({ kind: "workload", namespace: "remora-system", serviceAccount })),
  );
  t.strictSame([...loadControlConfig(environmentOf(find(base, "Deployment/remora-injector"))).roles], ["injector"]);
});

t.test("Services lead to ports that the pods have", async (t) => {
  for (const service of base.filter(({ kind }) => kind === "Service")) {
    const container = find(base, `Deployment/${service.metadata.name}`).spec?.template?.spec.containers[0];
    for (const { targetPort } of service.spec?.ports ?? [])
      t.ok(
        container?.ports.some(({ name }) => name === targetPort),
        `${nameOf(service)} ${targetPort}`,
      );
  }
});

type Labels = Readonly<Record<string, string>>;

interface Expression {
  readonly key: string;
  readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist";
  readonly values?: readonly string[];
}

/** Label selection as the API server does it. */
function matches(selector: unknown, labels: Labels): boolean {
  const { matchExpressions = [] } = (selector ?? {}) as { readonly matchExpressions?: readonly Expression[] };
  return matchExpressions.every(({ key, operator, values = [] }) => {
    const value = labels[key];
    if (operator === "Exists" || operator === "DoesNotExist") return (value !== undefined) === (operator === "Exists");
    return (value !== undefined && values.includes(value)) === (operator === "In");
  });
}

interface Rules {
  readonly rules: readonly { readonly resources: readonly string[]; readonly operations: readonly string[] }[];
}

/** The webhooks of `configuration` that are asked about an object that is created. */
function askedAbout(configuration: string, resource: string, namespace: Labels, object: Labels): readonly unknown[] {
  const { webhooks = [] } = find(base, `${configuration}/remora-injector`);
  const isOf = ({ rules }: Rules) =>
    rules.some(({ resources, operations }) => resources.includes(resource) && operations.includes("CREATE"));
  return webhooks
    .filter((webhook) => isOf(webhook as unknown as Rules))
    .filter(({ namespaceSelector, objectSelector }) => matches(namespaceSelector, namespace) && matches(objectSelector, object))
    .map(({ name }) => name);
}

const ON: Labels = { "remora.io/inject": "enabled" };
const OFF: Labels = { "remora.io/inject": "disabled" };
const ODD: Labels = { "remora.io/inject": "yes" };
const SYSTEM = ["kube-system", "kube-public", "kube-node-lease", "remora-system"];

t.test("the webhooks show the injector each pod that concerns it once, and leave system namespaces out", async (t) => {
  const { webhooks = [] } = find(base, "MutatingWebhookConfiguration/remora-injector");
  for (const webhook of webhooks) {
    t.match(webhook, { sideEffects: "NoneOnDryRun", admissionReviewVersions: ["v1"], matchPolicy: "Equivalent" });
    t.match(webhook, {
      rules: [{ operations: ["CREATE"], apiGroups: [""], apiVersions: ["v1"], resources: ["pods"], scope: "Namespaced" }],
    });
    const gets = ["inject.remora.io", "inject-labelled.remora.io"].includes(String(webhook["name"]));
    t.match(
      webhook,
      gets
        ? { failurePolicy: "Fail", timeoutSeconds: 5, reinvocationPolicy: "IfNeeded" }
        : { failurePolicy: "Ignore", timeoutSeconds: 2, reinvocationPolicy: "Never" },
      `only pods that get a sidecar wait for the injector: ${String(webhook["name"])}`,
    );
  }
  const askedFor = (namespace: Labels, pod: Labels) => askedAbout("MutatingWebhookConfiguration", "pods", namespace, pod);
  t.strictSame(askedFor(ON, {}), ["inject.remora.io"]);
  t.strictSame(askedFor(ON, ON), ["inject.remora.io"]);
  t.strictSame(askedFor(ON, OFF), []);
  t.strictSame(askedFor(ON, ODD), ["inject.remora.io"], "so that it can say that the label is not understood");
  t.strictSame(askedFor({}, {}), []);
  t.strictSame(askedFor({}, OFF), []);
  t.strictSame(askedFor(OFF, {}), []);
  t.strictSame(askedFor({}, ON), ["inject-labelled.remora.io"]);
  t.strictSame(askedFor(OFF, ON), ["inject-labelled.remora.io"]);
  t.strictSame(askedFor({}, ODD), ["unclear-pod.remora.io"]);
  t.strictSame(askedFor(OFF, ODD), ["unclear-pod.remora.io"]);
  t.strictSame(askedFor(ODD, {}), ["unclear-namespace.remora.io"]);
  t.strictSame(askedFor(ODD, ODD), ["unclear-pod.remora.io"], "once");
  t.strictSame(askedFor(ODD, ON), ["inject-labelled.remora.io"]);
  t.strictSame(askedFor(ODD, OFF), []);
  t.strictSame(askedFor({ "remora.io/inject": "" }, {}), ["unclear-namespace.remora.io"]);
  for (const name of SYSTEM) {
    for (const namespace of [ON, ODD, {}]) {
      for (const pod of [ON, ODD, {}]) t.strictSame(askedFor({ ...namespace, "kubernetes.io/metadata.name": name }, pod), [], name);
    }
  }
});

t.test("what is validated never depends on the injector, and system namespaces are not asked about", async (t) => {
  const { webhooks = [] } = find(base, "ValidatingWebhookConfiguration/remora-injector");
  for (const webhook of webhooks) {
    t.match(webhook, { failurePolicy: "Ignore", timeoutSeconds: 3, sideEffects: "None", admissionReviewVersions: ["v1"] });
    t.match(webhook, { clientConfig: { service: { name: "remora-injector", namespace: "remora-system", path: "/validate", port: 443 } } });
  }
  const askedFor = (resource: string, namespace: Labels, object: Labels = {}) =>
    askedAbout("ValidatingWebhookConfiguration", resource, namespace, object);
  for (const resource of ["deployments", "statefulsets", "daemonsets", "jobs", "cronjobs"]) {
    t.strictSame(askedFor(resource, ON), ["validate.remora.io"], resource);
    t.strictSame(askedFor(resource, {}), ["validate-labelled.remora.io"], `${resource}: the rest is said by matchConditions`);
  }
  t.strictSame(askedFor("pods", ON, {}), []);
  t.strictSame(askedFor("pods", ON, OFF), ["opt-out.remora.io"]);
  t.strictSame(askedFor("pods", {}, OFF), []);
  t.strictSame(askedFor("namespaces", {}, ON), ["validate-namespace.remora.io"]);
  t.strictSame(askedFor("namespaces", {}, {}), []);
  t.strictSame(askedFor("configmaps", ON), []);
  t.strictSame(askedFor("configmaps", { "kubernetes.io/metadata.name": "remora-system" }), ["validate-platform.remora.io"]);
  for (const name of SYSTEM) {
    const namespace = { ...ON, "kubernetes.io/metadata.name": name };
    for (const resource of ["deployments", "jobs", "pods", "namespaces"])
      t.strictSame(askedFor(resource, namespace, ODD), [], `${name} ${resource}`);
  }
});

t.test("only an overlay lets the control plane change workloads, and nothing else", { skip: requires("kubectl") }, async (t) => {
  const grants = (objects: readonly Manifest[]) =>
    objects.flatMap(({ rules = [] }) =>
      rules.filter(({ apiGroups, verbs }) => apiGroups.includes("apps") && verbs.some((verb) => verb !== "get")),
    );
  t.strictSame(grants(base), []);
  t.match(grants(await render("overlays/watchdog-restarts")), [
    { apiGroups: ["apps"], resources: ["deployments", "statefulsets", "daemonsets"], verbs: ["get", "patch"] },
  ]);
});

t.test("where opting out is forbidden, pods that do wait for the injector", { skip: requires("kubectl") }, async (t) => {
  const { webhooks = [] } = find(await render("overlays/no-opt-out"), "ValidatingWebhookConfiguration/remora-injector");
  const failing = webhooks.filter(({ failurePolicy }) => failurePolicy === "Fail");
  t.match(failing, [{ name: "opt-out.remora.io", timeoutSeconds: 5, rules: [{ resources: ["pods"] }] }]);
  t.equal(failing.length, 1);
  t.equal(webhooks.length, find(base, "ValidatingWebhookConfiguration/remora-injector").webhooks?.length);
});

t.test("the high availability overlay runs three replicas on the Redis of a Secret", { skip: requires("kubectl") }, async (t) => {
  const objects = await render("overlays/ha");
  const control = find(objects, "Deployment/remora-control");
  t.equal(control.spec?.replicas, 3);
  const env = control.spec?.template?.spec.containers[0]?.env ?? [];
  t.match(
    env.find(({ name }) => name === "REMORA_STORE"),
    { value: "redis" },
  );
  t.match(
    env.find(({ name }) => name === "REMORA_REDIS_URL"),
    { valueFrom: { secretKeyRef: { name: "remora-redis", key: "url" } } },
  );
  t.match(
    env.find(({ name }) => name === "REMORA_ROLES"),
    { value: "ca,registry" },
    "what the base says stays",
  );
  t.equal(loadControlConfig(environmentOf(control)).store, "redis");
  t.equal(find(objects, "PodDisruptionBudget/remora-control").spec?.minAvailable, 2);
  t.notOk(
    objects.some(({ kind }) => kind === "Secret"),
    "no credentials in the manifests",
  );
});

t.test("--set changes what it says, everywhere, and nothing else", async (t) => {
  const objects = base as unknown as readonly KubernetesObject[];
  const set = (...changes: string[]) => changeInstallation(objects, changes) as unknown as Manifest[];
  const imaged = JSON.stringify(set("image=mesh/remora:9"));
  t.notOk(imaged.includes("remora:0.1.0"));
  t.equal(imaged.split("mesh/remora:9").length - 1, 3, "two containers and the sidecar's image");
  const moved = JSON.stringify(set("namespace=mesh"));
  t.notOk(moved.includes("remora-system"));
  t.equal(JSON.stringify(base).split('"remora-system"').length, moved.split('"mesh"').length);
  t.equal(find(set("injector-replicas=5"), "Deployment/remora-injector").spec?.replicas, 5);
  const values = ["mode=permissive", "capture=explicit", "native-sidecar=false", "sidecar-cpu-request=10m", "sidecar-memory-limit=1Gi"];
  const changed = loadControlConfig(environmentOf(find(set(...values), "Deployment/remora-injector")));
  t.match(changed, {
    sidecarMode: "permissive",
    sidecarCapture: "explicit",
    sidecarNative: false,
    sidecarCpuRequest: "10m",
    sidecarMemoryLimit: "1Gi",
  });
  t.throws(
    () => set("imag=x", "mode=soft", "nothing"),
    /"imag" is unknown; did you mean image\?\nmode: "soft" is not allowed; allowed: strict, permissive\n"nothing" is unknown/,
  );
  t.strictSame(read(formatInstallation(objects)), base, "printing and reading give the same");
});

t.test("the manifests name the version of the package", async (t) => {
  const { version } = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8")) as { readonly version: string };
  const images = new Set(JSON.stringify(base).match(/"remora:[^"]*"/g));
  t.strictSame([...images], [`"remora:${version}"`]);
});

t.test("the workloads of the examples know nothing of Remora but in comments, and can be injected", async (t) => {
  for (const name of ["nginx.yaml", "redis.yaml"]) {
    const text = await readFile(new URL(`../../manifests/examples/${name}`, import.meta.url), "utf8");
    t.notMatch(text.replace(/#.*/g, ""), /remora/);
    const [deployment, service] = read(text);
    t.equal(service?.kind, "Service");
    const { decision, warnings } = injectPod(
      deployment?.spec?.template,
      noSurroundings("shop"),
      { kind: "command" },
      defaultInjectorSettings("0.1.0"),
    );
    t.equal(decision.action, "inject");
    t.strictSame(warnings, []);
  }
});
