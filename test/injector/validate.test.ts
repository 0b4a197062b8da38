import t from "tap";
import type { AdmissionRequest } from "../../injector/webhook/envelope.ts";
import { parsePlatform, type Platform } from "../../injector/platform/platform.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { noSurroundings, type Surroundings } from "../../injector/surroundings.ts";
import { type Validation, validate } from "../../injector/validate/validate.ts";

const SETTINGS = defaultInjectorSettings("0.1.0");

interface Parts {
  readonly annotations?: Record<string, string>;
  readonly labels?: Record<string, string>;
  readonly metadata?: Record<string, unknown>;
  readonly spec?: Record<string, unknown>;
  readonly replicas?: number;
}

function template({ annotations, labels, spec }: Parts): object {
  return { metadata: { labels: { app: "web", ...labels }, annotations }, spec: { containers: [{ name: "app", image: "app:1" }], ...spec } };
}

function deployment(parts: Parts = {}): object {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web", namespace: "shop", ...parts.metadata },
    spec: { replicas: parts.replicas ?? 1, template: template(parts) },
  };
}

function surroundings(label: string | null = "enabled", annotations: Record<string, string> = {}, platform?: Platform): Surroundings {
  const usual = noSurroundings("shop");
  const labels: Record<string, string> = label === null ? {} : { "remora.io/inject": label };
  return { ...usual, namespace: { name: "shop", labels, annotations }, ...(platform === undefined ? {} : { platform }) };
}

function request(object: unknown, rest: Partial<AdmissionRequest> = {}): AdmissionRequest {
  return {
    uid: "u",
    operation: "CREATE",
    resource: { group: "apps", resource: "deployments" },
    subResource: "",
    namespace: "shop",
    name: "web",
    dryRun: false,
    oldObject: null,
    ...rest,
    object,
  } as AdmissionRequest;
}

function judge(object: unknown, rest: Partial<AdmissionRequest> = {}, around = surroundings()): Validation {
  return validate(request(object, rest), around, SETTINGS);
}

const BAD = { annotations: { "remora.io/mode": "soft" } };
const BAD_SENTENCE = 'annotation remora.io/mode: "soft" is not allowed; allowed: strict, permissive';

t.test("a bad annotation of a pod template is refused when it is applied, for every kind of workload", async (t) => {
  const spec = { template: template(BAD) };
  const kinds = [
    ["apps", "deployments", "apps/v1", "Deployment", spec],
    ["apps", "statefulsets", "apps/v1", "StatefulSet", spec],
    ["apps", "daemonsets", "apps/v1", "DaemonSet", spec],
    ["apps", "replicasets", "apps/v1", "ReplicaSet", spec],
    ["", "replicationcontrollers", "v1", "ReplicationController", spec],
    ["batch", "jobs", "batch/v1", "Job", spec],
    ["batch", "cronjobs", "batch/v1", "CronJob", { jobTemplate: { spec } }],
  ] as const;
  for (const [group, resource, apiVersion, kind, own] of kinds) {
    const { answer, reason } = judge({ apiVersion, kind, metadata: { name: "x" }, spec: own }, { resource: { group, resource } });
    t.equal(answer.allowed, false, kind);
    t.equal(reason, "invalid_annotation");
    t.equal(answer.message, `remora refuses it (invalid_annotation): ${BAD_SENTENCE}`);
  }
});

t.test("what is right is let through without a word", async (t) => {
  const { answer, result, reason } = judge(deployment({ annotations: { "remora.io/mode": "permissive" } }));
  t.match({ result, reason }, { result: "allowed", reason: "valid" });
  t.strictSame(answer.warnings, []);
});

t.test("several mistakes are told at once", async (t) => {
  const { answer } = judge(deployment({ annotations: { "remora.io/mode": "soft", "remora.io/workers": "0" } }));
  t.match(answer.message, /remora\.io\/mode: "soft".*; annotation remora\.io\/workers: "0"/);
});

t.test("an unknown name warns with the nearest one; a name on the workload instead of the template is pointed out", async (t) => {
  const { answer } = judge(
    deployment({
      annotations: { "remora.io/mod": "strict" },
      metadata: { labels: { "remora.io/inject": "enabled" }, annotations: { "remora.io/mode": "soft" } },
    }),
  );
  t.equal(answer.allowed, true);
  t.strictSame(answer.warnings, [
    'remora: annotation "remora.io/mod" is unknown and has no effect; did you mean remora.io/mode?',
    "remora: the label remora.io/inject has no effect on deployment/web; it belongs on the pod template",
    'remora: annotation "remora.io/mode" has no effect on deployment/web; it belongs on the pod template',
  ]);
});

t.test("a label that is neither word is said", async (t) => {
  const { answer } = judge(deployment({ labels: { "remora.io/inject": "Enabled" } }));
  t.equal(answer.allowed, true);
  t.match(answer.warnings, [/neither enabled nor disabled/]);
});

t.test("where no sidecar comes, a mistake is only a warning", async (t) => {
  for (const around of [surroundings(null), surroundings("disabled")]) {
    const { answer } = judge(deployment(BAD), {}, around);
    t.equal(answer.allowed, true);
    t.match(answer.warnings, [/"soft" is not allowed.*would be refused if/]);
  }
  t.equal(judge(deployment({ ...BAD, labels: { "remora.io/inject": "disabled" } })).answer.allowed, true);
  t.equal(judge(deployment({ ...BAD, labels: { "remora.io/inject": "enabled" } }), {}, surroundings(null)).answer.allowed, false);
});

t.test("an update is refused only for a mistake that is new", async (t) => {
  const update = (object: unknown, oldObject: unknown, around = surroundings()) =>
    judge(object, { operation: "UPDATE", oldObject }, around);
  const scaled = update(deployment({ ...BAD, replicas: 3 }), deployment(BAD));
  t.equal(scaled.answer.allowed, true, "scaling");
  t.equal(
    update(deployment({ ...BAD, metadata: { finalizers: [] } }), deployment({ ...BAD, metadata: { finalizers: ["x"] } })).answer.allowed,
    true,
  );
  const image = update(deployment({ ...BAD, spec: { containers: [{ name: "app", image: "app:2" }] } }), deployment(BAD));
  t.equal(image.answer.allowed, true, "another image in a template that was wrong before");
  t.strictSame(image.answer.warnings, [`remora: still wrong: ${BAD_SENTENCE}`]);
  t.equal(image.reason, "unchanged");
  t.equal(update(deployment(BAD), deployment()).answer.allowed, false, "the mistake is new");
  const more = update(deployment({ annotations: { ...BAD.annotations, "remora.io/workers": "0" } }), deployment(BAD));
  t.equal(
    more.answer.message,
    'remora refuses it (invalid_annotation): annotation remora.io/workers: "0" is not allowed; allowed: a whole number from 1 to 64',
  );
  const strict = parsePlatform("enforced: {minimumMode: strict}");
  const soft = { annotations: { "remora.io/mode": "permissive" } };
  t.equal(
    update(deployment({ ...soft, replicas: 2 }), deployment(soft), surroundings("enabled", {}, strict)).answer.allowed,
    true,
    "the rule came later",
  );
  t.equal(update(deployment(soft), deployment(), surroundings("enabled", {}, strict)).answer.allowed, false);
});

t.test("what a controller made, subresources, deletion and other operations pass", async (t) => {
  const owned = deployment({ ...BAD, metadata: { ownerReferences: [{ kind: "CronJob", controller: true }] } });
  t.equal(judge(owned).answer.allowed, true);
  t.equal(judge(deployment(BAD), { subResource: "scale" }).answer.allowed, true);
  t.equal(
    judge(deployment({ ...BAD, metadata: { deletionTimestamp: "2026-01-01T00:00:00Z" } }), { operation: "UPDATE" }).answer.allowed,
    true,
  );
  t.equal(judge(null, { operation: "DELETE", oldObject: deployment(BAD) }).answer.allowed, true);
  t.equal(
    judge({ kind: "Rollout", spec: { template: template(BAD) } }, { resource: { group: "argoproj.io", resource: "rollouts" } }).answer
      .allowed,
    true,
  );
});

t.test("pods that would be refused for another reason are announced", async (t) => {
  const { answer } = judge(deployment({ spec: { initContainers: [{ name: "remora-init" }] } }));
  t.equal(answer.allowed, true);
  t.match(answer.warnings, [/its pods will be refused \(name_conflict\).*remora-init/]);
});

t.test("nothing weaker than the platform allows, with annotation, value and rule", async (t) => {
  const platform = parsePlatform(`
enforced:
  minimumMode: strict
  minimumSigning: hmac
  minimumVerify: sign
  capture: transparent
  egress: deny
  images: ["registry.example/remora:*"]
  forbiddenAnnotations: [workers]
channels: {stable: "0.1.0", canary: "0.2.0"}
`);
  const refused: readonly (readonly [string, string, RegExp])[] = [
    ["mode", "permissive", /"permissive" is not what the platform allows: strict \(enforced\.minimumMode in ConfigMap remora-platform\)/],
    ["skip-inbound-ports", "80", /enforced\.minimumMode/],
    ["signing", "mtls", /hmac or sign \(enforced\.minimumSigning/],
    ["verify", "hmac", /: sign \(enforced\.minimumVerify/],
    ["capture", "explicit", /only transparent \(enforced\.capture/],
    ["egress", "allow", /only deny \(enforced\.egress/],
    ["skip-outbound-ports", "443", /enforced\.egress/],
    ["skip-outbound-cidrs", "0.0.0.0/0", /enforced\.egress/],
    ["image", "evil/remora:1", /images like registry\.example\/remora:\* \(enforced\.images/],
    ["workers", "2", /nobody may set it \(enforced\.forbiddenAnnotations/],
  ];
  for (const [name, value, message] of refused) {
    const { answer, reason } = judge(
      deployment({ annotations: { [`remora.io/${name}`]: value } }),
      {},
      surroundings("enabled", {}, platform),
    );
    t.equal(reason, "invalid_annotation", name);
    t.match(answer.message, message);
    t.ok(answer.message.includes(`annotation remora.io/${name}: ${JSON.stringify(value)}`), answer.message);
    const inNamespace = judge(deployment(), {}, surroundings("enabled", { [`remora.io/${name}`]: value }, platform));
    t.match(inNamespace.answer.message, /namespace shop, annotation/, `${name} of the namespace`);
  }
  const fine = {
    mode: "strict",
    signing: "sign",
    verify: "sign",
    capture: "auto",
    egress: "deny",
    image: "registry.example/remora:1",
    channel: "canary",
  };
  const annotations = Object.fromEntries(Object.entries(fine).map(([name, value]) => [`remora.io/${name}`, value]));
  t.equal(judge(deployment({ annotations }), {}, surroundings("enabled", {}, platform)).reason, "valid");
});

t.test("opting out is refused where the platform forbids it: workloads, pods and the namespace itself", async (t) => {
  const platform = parsePlatform('enforced: {optOut: {forbiddenIn: ["*"], allowedIn: ["legacy-*"]}}');
  const around = surroundings("enabled", {}, platform);
  for (const label of ["disabled", "Disabled"]) {
    const out = { labels: { "remora.io/inject": label } };
    t.equal(judge(deployment(out), {}, around).reason, "opt_out_forbidden", label);
    t.equal(judge(deployment(out), { operation: "UPDATE", oldObject: deployment(out) }, around).answer.allowed, true, "it was so before");
    const pods = { resource: { group: "", resource: "pods" } };
    t.equal(judge(template(out), pods, around).reason, "opt_out_forbidden");
    t.equal(judge(template(out), pods, surroundings("enabled")).answer.allowed, true);
    t.equal(judge(template(out), pods, surroundings(null, {}, platform)).answer.allowed, true, "nothing to opt out of");
  }
  const legacy = { ...around, namespace: { ...around.namespace, name: "legacy-shop" } };
  t.equal(judge(deployment({ labels: { "remora.io/inject": "disabled" } }), {}, legacy).answer.allowed, true);
  const namespace = (labels: Record<string, string>) => ({ kind: "Namespace", metadata: { name: "shop", labels } });
  const leaving = {
    resource: { group: "", resource: "namespaces" },
    operation: "UPDATE",
    oldObject: namespace({ "remora.io/inject": "enabled" }),
  };
  t.equal(judge(namespace({}), leaving, around).reason, "opt_out_forbidden");
  t.equal(judge(namespace({ "remora.io/inject": "enabled", team: "x" }), leaving, around).answer.allowed, true);
  t.equal(judge(namespace({}), leaving, surroundings()).answer.allowed, true);
});

t.test("the defaults of a namespace are checked where they are written", async (t) => {
  const namespaces = { resource: { group: "", resource: "namespaces" }, name: "shop" };
  const namespace = (annotations: Record<string, string>, labels: Record<string, string> = {}) => ({
    kind: "Namespace",
    metadata: { name: "shop", annotations, labels },
  });
  const bad = judge(namespace({ "remora.io/mode": "soft" }), namespaces);
  t.equal(bad.answer.message, `remora refuses it (invalid_annotation): ${BAD_SENTENCE}`);
  const odd = judge(namespace({ "remora.io/ports": "80", "remora.io/modes": "x" }, { "remora.io/inject": "on" }), namespaces);
  t.equal(odd.answer.allowed, true);
  t.strictSame(odd.answer.warnings, [
    "remora: the label remora.io/inject is neither enabled nor disabled, so no pod of the namespace gets a sidecar",
    'remora: annotation "remora.io/modes" is unknown and has no effect; did you mean remora.io/mode?',
    "remora: annotation remora.io/ports has no effect on a namespace: it is for a pod",
  ]);
  const relabelled = { ...namespaces, operation: "UPDATE", oldObject: namespace({ "remora.io/mode": "soft" }) };
  t.equal(judge(namespace({ "remora.io/mode": "soft" }, { team: "x" }), relabelled).answer.allowed, true, "only what is new");
  const strict = surroundings("enabled", {}, parsePlatform("enforced: {minimumMode: strict}"));
  t.match(judge(namespace({ "remora.io/mode": "permissive" }), namespaces, strict).answer.message, /enforced\.minimumMode/);
});

t.test("the platform's ConfigMap is refused with all its mistakes; other ConfigMaps do not concern us", async (t) => {
  const maps = { resource: { group: "", resource: "configmaps" }, namespace: "remora-system", name: "remora-platform" };
  const map = (data: Record<string, string>, name = "remora-platform") => ({ kind: "ConfigMap", metadata: { name }, data });
  const wrong = "enforced: {minimumMode: soft}\nchannels: {stable: 1.4}\n";
  const bad = judge(map({ "platform.yaml": wrong }), maps);
  t.equal(bad.reason, "invalid_platform");
  t.match(bad.answer.message, /channels\.stable: 1\.4 .*; enforced\.minimumMode: "soft"/);
  t.equal(judge(map({ "platform.yaml": "enforced: {minimumMode: strict}" }), maps).reason, "valid");
  t.equal(judge(map({ "platform.yaml": "a: [" }), maps).reason, "invalid_platform");
  const renamed = judge(map({ "platform.yml": "{}" }), maps);
  t.equal(renamed.answer.allowed, true);
  t.match(renamed.answer.warnings, [/no key platform\.yaml.*rename platform\.yml/]);
  t.equal(judge(map({ "platform.yaml": wrong }, "other"), { ...maps, name: "other" }).reason, "not_ours");
  t.equal(judge(map({ "platform.yaml": wrong }), { ...maps, namespace: "shop" }).reason, "not_ours");
  const touched = judge(map({ "platform.yaml": wrong }), { ...maps, operation: "UPDATE", oldObject: map({ "platform.yaml": wrong }) });
  t.equal(touched.answer.allowed, true, "it was wrong before");
});

t.test("nothing that an object contains makes it throw", async (t) => {
  const odd = [
    null,
    1,
    "x",
    [],
    {},
    { metadata: null },
    { kind: "Deployment", spec: { template: 3 } },
    { kind: "Deployment", apiVersion: "apps/v1" },
  ];
  for (const object of odd) {
    for (const resource of ["deployments", "namespaces", "configmaps", "pods", "cronjobs"]) {
      for (const operation of ["CREATE", "UPDATE"]) {
        const group = resource === "deployments" ? "apps" : resource === "cronjobs" ? "batch" : "";
        t.equal(judge(object, { operation, oldObject: object, resource: { group, resource } }).answer.allowed, true);
      }
    }
  }
});
