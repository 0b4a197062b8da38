import t from "tap";
import { admit } from "../../injector/webhook/admit.ts";
import { type Asker, type Decision, decide } from "../../injector/decide/decide.ts";
import { injectPod } from "../../injector/inject.ts";
import { parsePlatform } from "../../injector/platform/platform.ts";
import type { Pod } from "../../injector/pod/pod.ts";
import { explainReason, INJECT_REASONS, REFUSE_REASONS, SKIP_REASONS } from "../../injector/decide/reasons.ts";
import { readSwitch, reportPod } from "../../injector/decide/report.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { noSurroundings, type Surroundings } from "../../injector/surroundings.ts";

const SETTINGS = defaultInjectorSettings("0.1.0");
const ENABLED: Asker = { kind: "namespace", label: "enabled" };

interface PodParts {
  readonly labels?: Record<string, string>;
  readonly annotations?: Record<string, string>;
  readonly spec?: Record<string, unknown>;
}

function pod({ labels, annotations, spec }: PodParts = {}): Pod {
  return {
    metadata: { name: "web", ...(labels === undefined ? {} : { labels }), ...(annotations === undefined ? {} : { annotations }) },
    spec: { containers: [{ name: "app", image: "app:1" }], ...spec },
  } as Pod;
}

function reasonFor(parts: PodParts, asker: Asker = ENABLED, namespace = "shop"): string {
  return decide(reportPod(pod(parts), noSurroundings(namespace), SETTINGS), asker, SETTINGS).reason;
}

/** Surroundings in which the platform lets nobody opt out. */
function strictSurroundings(labels: Readonly<Record<string, string>> = {}): Surroundings {
  const usual = noSurroundings("shop");
  const platform = parsePlatform("enforced: {optOut: {forbiddenIn: ['*'], allowedIn: [sandbox]}}");
  return { ...usual, namespace: { ...usual.namespace, labels }, platform };
}

function decisionIn(surroundings: Surroundings, parts: PodParts, asker: Asker = ENABLED): Decision {
  return decide(reportPod(pod(parts), surroundings, SETTINGS), asker, SETTINGS);
}

const NAMESPACE_LABELS = {
  absent: undefined,
  enabled: "enabled",
  disabled: "disabled",
  empty: "",
  wrongCase: "Enabled",
  wrongCaseOff: "DISABLED",
  other: "true",
  spaced: "enabled ",
};
const POD_LABELS = {
  absent: undefined,
  enabled: "enabled",
  disabled: "disabled",
  empty: "",
  wrongCase: "ENABLED",
  wrongCaseOff: "Disabled",
  other: "yes",
  spaced: " enabled",
};
const BY_NAMESPACE: Readonly<Record<string, string>> = {
  absent: "namespace_not_enabled",
  enabled: "namespace_enabled",
  disabled: "namespace_disabled",
};
const BY_POD: Readonly<Record<string, string>> = { enabled: "pod_enabled", disabled: "pod_disabled" };

for (const optOut of [true, false]) {
  t.test(`the labels of namespace and pod decide as the truth table says, opting out ${optOut ? "allowed" : "forbidden"}`, async (t) => {
    for (const [namespaceCase, namespaceLabel] of Object.entries(NAMESPACE_LABELS)) {
      for (const [podCase, podLabel] of Object.entries(POD_LABELS)) {
        const usual =
          podCase === "absent" ? (BY_NAMESPACE[namespaceCase] ?? "namespace_label_unknown") : (BY_POD[podCase] ?? "pod_label_unknown");
        const leaves = podCase !== "absent" && podCase !== "enabled" && namespaceCase === "enabled";
        const expected = !optOut && leaves ? "opt_out_forbidden" : usual;
        const labels = podLabel === undefined ? {} : { "remora.io/inject": podLabel };
        const surroundings = optOut ? noSurroundings("shop") : strictSurroundings();
        const decision = decisionIn(surroundings, { labels }, { kind: "namespace", label: readSwitch(namespaceLabel) });
        t.equal(decision.reason, expected, `namespace ${namespaceCase}, pod ${podCase}`);
        t.equal(
          decision.action,
          expected === "opt_out_forbidden" ? "refuse" : expected === "pod_enabled" || expected === "namespace_enabled" ? "inject" : "skip",
        );
        if (usual.endsWith("_unknown")) {
          const { warnings, patch } = injectPod(
            pod({ labels }),
            surroundings,
            { kind: "namespace", label: readSwitch(namespaceLabel) },
            SETTINGS,
          );
          t.strictSame(patch, [], "an unknown word never injects");
          t.equal(warnings.length + (decision.action === "refuse" ? 1 : 0), 1, "and is always visible");
        }
      }
    }
  });
}

t.test("the command line injects what does not say otherwise", async (t) => {
  t.equal(reasonFor({}, { kind: "command" }), "asked");
  t.equal(reasonFor({ labels: { "remora.io/inject": "disabled" } }, { kind: "command" }), "pod_disabled");
  t.equal(reasonFor({ labels: { "remora.io/inject": "on" } }, { kind: "command" }), "pod_label_unknown");
  const off = { labels: { "remora.io/inject": "disabled" } };
  t.equal(decisionIn(strictSurroundings({ "remora.io/inject": "enabled" }), off, { kind: "command" }).reason, "opt_out_forbidden");
  t.equal(decisionIn(strictSurroundings(), off, { kind: "command" }).reason, "pod_disabled", "nothing to leave");
  const allowed = strictSurroundings();
  const sandbox = { ...allowed, namespace: { ...allowed.namespace, name: "sandbox" } };
  t.equal(decisionIn(sandbox, off).reason, "pod_disabled", "an exception of the platform");
});

t.test("pods in which a sidecar would do harm are left alone, whatever their label", async (t) => {
  const labels = { "remora.io/inject": "enabled" };
  for (const namespace of ["kube-system", "kube-public", "kube-node-lease", "remora-system"]) {
    t.equal(reasonFor({ labels }, ENABLED, namespace), "system_namespace", namespace);
  }
  const affinity = (...terms: object[]) => ({
    nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } },
  });
  const os = (operator: string, ...values: string[]) => ({ matchExpressions: [{ key: "kubernetes.io/os", operator, values }] });
  const cases: readonly [string, PodParts, string][] = [
    ["a mirror pod", { annotations: { "kubernetes.io/config.mirror": "x" } }, "mirror_pod"],
    ["a static pod from a file", { annotations: { "kubernetes.io/config.source": "file" } }, "static_pod"],
    ["a static pod from an address", { annotations: { "kubernetes.io/config.source": "http" } }, "static_pod"],
    ["a pod from the API server", { annotations: { "kubernetes.io/config.source": "api" } }, "pod_enabled"],
    ["host network", { spec: { hostNetwork: true } }, "host_network"],
    ["host network said to be off", { spec: { hostNetwork: false } }, "pod_enabled"],
    ["Windows by its field", { spec: { os: { name: "windows" } } }, "windows"],
    ["Linux by its field", { spec: { os: { name: "linux" } } }, "pod_enabled"],
    ["Windows by selector", { spec: { nodeSelector: { "kubernetes.io/os": "windows" } } }, "windows"],
    ["Windows by the old selector", { spec: { nodeSelector: { "beta.kubernetes.io/os": "windows" } } }, "windows"],
    ["Linux by selector", { spec: { nodeSelector: { "kubernetes.io/os": "linux" } } }, "pod_enabled"],
    ["Windows by affinity", { spec: { affinity: affinity(os("In", "windows")) } }, "windows"],
    ["either by affinity", { spec: { affinity: affinity(os("In", "windows", "linux")) } }, "pod_enabled"],
    ["one way to Linux", { spec: { affinity: affinity(os("In", "windows"), os("In", "linux")) } }, "pod_enabled"],
    ["not Windows by affinity", { spec: { affinity: affinity(os("NotIn", "windows")) } }, "pod_enabled"],
    ["a Windows host process", { spec: { securityContext: { windowsOptions: { hostProcess: true } } } }, "windows"],
  ];
  for (const [what, parts, expected] of cases) t.equal(reasonFor({ labels, ...parts }), expected, what);
  const ofNode = { metadata: { name: "x", ownerReferences: [{ apiVersion: "v1", kind: "Node", name: "n" }] }, spec: pod().spec } as Pod;
  t.equal(injectPod(ofNode, noSurroundings("shop"), ENABLED, SETTINGS).decision.reason, "mirror_pod", "a pod that belongs to a node");
});

t.test("a sidecar of ours that is there already is seen by name and by image, among containers and init containers", async (t) => {
  const app = { name: "app", image: "app:1" };
  const cases: readonly [string, object, string][] = [
    ["by name", { name: "remora-sidecar", image: "nginx" }, "already_injected"],
    ["by image", { name: "mesh", image: "remora:0.1.0", args: ["sidecar"] }, "already_injected"],
    ["by image of another version", { name: "mesh", image: "remora:9.9.9", command: ["remora", "sidecar"] }, "already_injected"],
    ["by image and digest", { name: "mesh", image: `remora@sha256:${"0".repeat(64)}`, args: ["sidecar"] }, "already_injected"],
    ["by image with its registry", { name: "mesh", image: "docker.io/library/remora:1", args: ["sidecar"] }, "already_injected"],
    ["by image alone", { name: "mesh", image: "remora" }, "already_injected"],
    ["another command of our image", { name: "mesh", image: "remora:0.1.0", command: ["remora", "check"] }, "namespace_enabled"],
    ["another image", { name: "mesh", image: "other/remora:0.1.0", args: ["sidecar"] }, "namespace_enabled"],
  ];
  for (const [what, container, expected] of cases) {
    t.equal(reasonFor({ spec: { containers: [app, container] } }), expected, `${what}, container`);
    t.equal(reasonFor({ spec: { initContainers: [container] } }), expected, `${what}, init container`);
  }
  t.match(injectPod(pod({ spec: { containers: [app, { name: "remora-sidecar" }] } }), noSurroundings("shop"), ENABLED, SETTINGS), {
    patch: [],
    decision: { message: /already carries a Remora sidecar: container remora-sidecar, by its name/ },
  });
});

t.test("what only looks like our sidecar is no way out where nobody may opt out", async (t) => {
  const pretended = { spec: { containers: [{ name: "app" }, { name: "remora-sidecar", image: "busybox" }] } };
  t.equal(decisionIn(strictSurroundings(), pretended).reason, "opt_out_forbidden");
  const unmarked = { spec: { containers: [{ name: "app" }, { name: "remora-sidecar", image: "remora:0.1.0", args: ["sidecar"] }] } };
  t.equal(decisionIn(strictSurroundings(), unmarked).reason, "opt_out_forbidden", "no marker");
  const { pod: injected } = injectPod(pod(), strictSurroundings(), ENABLED, SETTINGS);
  t.match(injectPod(injected, strictSurroundings(), ENABLED, SETTINGS), { patch: [], decision: { reason: "already_injected" } });
  const mirrored = JSON.parse(JSON.stringify(injected).replaceAll("remora:0.1.0", "mirror.example/cache/remora:0.1.0")) as unknown;
  t.equal(
    injectPod(mirrored, strictSurroundings(), ENABLED, SETTINGS).decision.reason,
    "already_injected",
    "another webhook changed the registry",
  );
  const swapped = JSON.parse(JSON.stringify(injected).replaceAll("remora:0.1.0", "evil:1")) as unknown;
  t.equal(
    injectPod(swapped, strictSurroundings(), ENABLED, SETTINGS).decision.reason,
    "opt_out_forbidden",
    "another image in our container",
  );
});

t.test("the sidecars of other meshes are seen by name, image and mark", async (t) => {
  const names: readonly [string, string][] = [
    ["istio-proxy", "Istio"],
    ["istio-init", "Istio"],
    ["istio-validation", "Istio"],
    ["linkerd-proxy", "Linkerd"],
    ["linkerd-init", "Linkerd"],
    ["linkerd-network-validator", "Linkerd"],
    ["consul-dataplane", "Consul"],
    ["consul-connect-inject-init", "Consul"],
    ["kuma-sidecar", "Kuma"],
    ["kuma-init", "Kuma"],
    ["daprd", "Dapr"],
  ];
  const images: readonly [string, string][] = [
    ["docker.io/istio/proxyv2:1.28.0", "Istio"],
    ["registry.example:5000/mirror/proxyv2@sha256:abc", "Istio"],
    ["cr.l5d.io/linkerd/proxy:edge-25.1.1", "Linkerd"],
    ["cr.l5d.io/linkerd/proxy-init:v2", "Linkerd"],
    ["hashicorp/consul-dataplane:1.6", "Consul"],
    ["docker.io/kumahq/kuma-dp:2.9", "Kuma"],
    ["ghcr.io/dapr/daprd:1.15", "Dapr"],
  ];
  const containers: readonly [object, string][] = [
    ...names.map(([name, mesh]) => [{ name, image: "any" }, mesh] as [object, string]),
    ...images.map(([image, mesh]) => [{ name: "side", image }, mesh] as [object, string]),
  ];
  for (const [container, mesh] of containers) {
    const places = [
      { containers: [{ name: "app" }, container] },
      { initContainers: [container] },
      { initContainers: [{ ...container, restartPolicy: "Always" }] },
    ];
    for (const spec of places) {
      t.match(
        decisionIn(noSurroundings("shop"), { spec }),
        { reason: "other_mesh", message: new RegExp(`: ${mesh} \\(container `) },
        JSON.stringify(spec),
      );
    }
  }
  const marks = {
    "sidecar.istio.io/status": '{"version":"1"}',
    "linkerd.io/proxy-version": "edge",
    "consul.hashicorp.com/connect-inject-status": "injected",
    "kuma.io/sidecar-injected": "true",
  };
  for (const [key, value] of Object.entries(marks)) t.equal(reasonFor({ annotations: { [key]: value } }), "other_mesh", key);
  for (const image of ["nginx", "acme/proxy:1", "acme/proxyv2-tools", "linkerd/proxy-tools"]) {
    t.equal(reasonFor({ spec: { containers: [{ name: "a", image }] } }), "namespace_enabled", image);
  }
  const asking = { annotations: { "dapr.io/enabled": "true" } };
  t.equal(reasonFor(asking), "namespace_enabled", "asking is not having");
  t.match(injectPod(pod(asking), noSurroundings("shop"), ENABLED, SETTINGS).warnings, [
    /also asks for the sidecar of Dapr \(dapr\.io\/enabled: true\)/,
  ]);
});

t.test("a pod whose traffic would escape the sidecar is refused", async (t) => {
  const cases: readonly [object, string][] = [
    [{ securityContext: { runAsUser: 1337 } }, "runs_as_proxy_uid"],
    [{ containers: [{ name: "a", securityContext: { runAsUser: 1337 } }] }, "runs_as_proxy_uid"],
    [{ initContainers: [{ name: "i", securityContext: { runAsUser: 1337 } }] }, "runs_as_proxy_uid"],
    [{ initContainers: [{ name: "i", restartPolicy: "Always", securityContext: { runAsUser: 1337 } }] }, "runs_as_proxy_uid"],
    [{ securityContext: { runAsUser: 1337 }, containers: [{ name: "a", securityContext: { runAsUser: 1000 } }] }, "namespace_enabled"],
    [{ securityContext: { runAsGroup: 1337, fsGroup: 1337 } }, "namespace_enabled"],
  ];
  for (const [spec, expected] of cases) t.equal(reasonFor({ spec: spec as Record<string, unknown> }), expected, JSON.stringify(spec));
});

t.test("names, mounts and ports that Remora needs are refused clearly when they are taken", async (t) => {
  const messageFor = (spec: Record<string, unknown>) => injectPod(pod({ spec }), noSurroundings("shop"), ENABLED, SETTINGS).decision;
  const app = (fields: object) => ({ containers: [{ name: "a", ...fields }] });
  const cases: readonly [Record<string, unknown>, string, RegExp][] = [
    [{ initContainers: [{ name: "remora-init" }] }, "name_conflict", /container remora-init; rename it/],
    [app({ name: "remora-init" }), "name_conflict", /container remora-init/],
    [{ volumes: [{ name: "remora-token", emptyDir: {} }] }, "name_conflict", /volume remora-token/],
    [{ volumes: [{ name: "remora-state", emptyDir: {} }] }, "name_conflict", /volume remora-state/],
    [app({ ports: [{ name: "remora-admin", containerPort: 80 }] }), "name_conflict", /port remora-admin of container a/],
    [app({ volumeMounts: [{ name: "remora-token", mountPath: "/x" }] }), "mount_conflict", /volume remora-token \(container a\)/],
    [app({ volumeMounts: [{ name: "v", mountPath: "/var/run/remora/" }] }), "mount_conflict", /path \/var\/run\/remora \(container a\)/],
    [
      app({ volumeMounts: [{ name: "v", mountPath: "/var/run/secrets/remora.io/x" }] }),
      "mount_conflict",
      /path \/var\/run\/secrets\/remora\.io/,
    ],
    [app({ ports: [{ containerPort: 15001 }] }), "port_conflict", /15001 \(container a\); move the app/],
    [app({ ports: [{ containerPort: 15006 }] }), "port_conflict", /15006 \(container a\)/],
    [app({ ports: [{ containerPort: 15020 }] }), "port_conflict", /15020 \(container a\)/],
    [app({ ports: [{ containerPort: 80, hostPort: 15006 }] }), "port_conflict", /15006 of the host \(container a\)/],
    [
      { initContainers: [{ name: "s", restartPolicy: "Always", ports: [{ containerPort: 15001 }] }] },
      "port_conflict",
      /15001 \(container s\)/,
    ],
    [app({ livenessProbe: { httpGet: { port: 15020 } } }), "port_conflict", /15020 \(livenessProbe of container a\)/],
    [app({ readinessProbe: { tcpSocket: { port: "15006" } } }), "port_conflict", /15006 \(readinessProbe/],
    [app({ startupProbe: { grpc: { port: 15001 } } }), "port_conflict", /15001 \(startupProbe/],
    [app({ lifecycle: { preStop: { httpGet: { port: 15020 } } } }), "port_conflict", /15020 \(preStop of container a\)/],
  ];
  for (const [spec, reason, message] of cases) t.match(messageFor(spec), { action: "refuse", reason, message }, JSON.stringify(spec));
  const harmless: readonly Record<string, unknown>[] = [
    app({ ports: [{ containerPort: 15001, protocol: "UDP" }] }),
    app({ ports: [{ containerPort: 80, hostPort: 15006, protocol: "UDP" }] }),
    app({ volumeMounts: [{ name: "v", mountPath: "/var/run/remora-other" }] }),
    app({ volumeMounts: [{ name: "v", mountPath: "/var/run" }] }),
    app({ livenessProbe: { httpGet: { port: 15020, host: "elsewhere.example" } } }),
    app({ livenessProbe: { exec: { command: ["15020"] } } }),
    { initContainers: [{ name: "i", ports: [{ containerPort: 15001 }] }] },
  ];
  for (const spec of harmless) t.match(messageFor(spec), { action: "inject" }, JSON.stringify(spec));
});

t.test("what may not work is said and does not stop the pod", async (t) => {
  const warningsOf = (spec: Record<string, unknown>, settings = SETTINGS) => {
    const { decision, warnings } = injectPod(pod({ spec }), noSurroundings("shop"), ENABLED, settings);
    t.equal(decision.action, "inject");
    return warnings;
  };
  const ports = (protocol: string) => ({ containers: [{ name: "a", ports: [{ containerPort: 53, protocol }] }] });
  t.match(warningsOf(ports("UDP")), [/container a: port 53 is UDP, which does not pass through the sidecar/]);
  t.match(warningsOf(ports("SCTP")), [/port 53 is SCTP/]);
  t.strictSame(warningsOf(ports("TCP")), []);
  t.match(warningsOf({ dnsPolicy: "Default" }), [
    /dnsPolicy Default asks the node's name servers, which do not know remora-control\.remora-system\.svc/,
  ]);
  t.match(warningsOf({ dnsPolicy: "None", dnsConfig: { nameservers: ["1.1.1.1"] } }), [
    /dnsPolicy None asks the name servers 1\.1\.1\.1; the sidecar needs the name .* from them, and the search domain cluster\.local/,
  ]);
  const searching = { nameservers: ["10.96.0.10"], searches: ["shop.svc.cluster.local", "cluster.local"] };
  t.match(warningsOf({ dnsPolicy: "None", dnsConfig: searching }), [/from them$/], "no word about the search domain");
  for (const dnsPolicy of ["ClusterFirst", "ClusterFirstWithHostNet"]) t.strictSame(warningsOf({ dnsPolicy }), [], dnsPolicy);
  const aliases = { dnsPolicy: "Default", hostAliases: [{ ip: "10.0.0.1", hostnames: ["remora-control.remora-system.svc"] }] };
  t.strictSame(warningsOf(aliases), [], "the pod knows the name by itself");
  t.strictSame(warningsOf({ dnsPolicy: "Default" }, { ...SETTINGS, controlAddress: "10.0.0.1:15010" }), [], "an address needs no name");
  t.strictSame(warningsOf({ dnsPolicy: "Default" }, { ...SETTINGS, controlAddress: "[fd00::1]:15010" }), [], "nor does one of v6");
  t.strictSame(warningsOf({ dnsPolicy: "Default" }, { ...SETTINGS, controlAddress: "mesh.example.org:15010" }), [], "a name of the world");
});

t.test("only pods that are being created are judged", async (t) => {
  const request = (fields: object) => ({
    uid: "1",
    operation: "CREATE",
    kind: { group: "", kind: "Pod" },
    oldObject: null,
    resource: { group: "", resource: "pods" },
    subResource: "",
    namespace: "shop",
    name: "",
    dryRun: false,
    object: pod(),
    ...fields,
  });
  const answer = (fields: object) => admit(request(fields), "by_namespace", noSurroundings("shop"), SETTINGS);
  t.match(answer({}), { result: "injected", reason: "namespace_enabled" });
  for (const subResource of ["ephemeralcontainers", "resize", "status", "binding", "eviction", "exec", "log"]) {
    t.match(
      answer({ subResource, operation: "UPDATE" }),
      { result: "skipped", reason: "subresource", answer: { allowed: true, patch: [] } },
      subResource,
    );
  }
  for (const operation of ["UPDATE", "DELETE", "CONNECT", "", "create"]) {
    t.match(answer({ operation }), { result: "skipped", reason: "not_created", answer: { allowed: true, patch: [] } }, operation);
  }
  for (const resource of [
    { group: "apps", resource: "deployments" },
    { group: "", resource: "services" },
    { group: "metrics.k8s.io", resource: "pods" },
    { group: "", resource: "" },
  ]) {
    t.match(
      answer({ resource }),
      { result: "skipped", reason: "not_a_pod", answer: { allowed: true, patch: [] } },
      JSON.stringify(resource),
    );
  }
});

t.test("every reason has one sentence, and no code means two things", async (t) => {
  const codes = [INJECT_REASONS, SKIP_REASONS, REFUSE_REASONS].flatMap((table) => Object.keys(table));
  t.equal(new Set(codes).size, codes.length);
  for (const code of codes) t.match(explainReason(code as keyof typeof SKIP_REASONS), /^[A-Z].*\.$/, code);
});
