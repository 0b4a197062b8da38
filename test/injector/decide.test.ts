import t from "tap";
import { type Asker, decide } from "../../injector/decide.ts";
import { injectPod } from "../../injector/inject.ts";
import type { Pod } from "../../injector/pod.ts";
import { explainReason, INJECT_REASONS, REFUSE_REASONS, SKIP_REASONS } from "../../injector/reasons.ts";
import { readSwitch, reportPod } from "../../injector/report.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { noSurroundings } from "../../injector/surroundings.ts";

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

t.test("the labels of namespace and pod decide as the truth table says", async (t) => {
  const namespaces = { absent: undefined, enabled: "enabled", disabled: "disabled", empty: "", wrongCase: "Enabled", other: "true" };
  const pods = {
    absent: undefined,
    enabled: "enabled",
    disabled: "disabled",
    empty: "",
    wrongCase: "ENABLED",
    other: "yes",
    spaced: " enabled",
  };
  const byNamespace: Record<string, string> = {
    absent: "namespace_not_enabled",
    enabled: "namespace_enabled",
    disabled: "namespace_disabled",
    empty: "namespace_label_unknown",
    wrongCase: "namespace_label_unknown",
    other: "namespace_label_unknown",
  };
  for (const [namespaceCase, namespaceLabel] of Object.entries(namespaces)) {
    for (const [podCase, podLabel] of Object.entries(pods)) {
      const expected =
        podCase === "absent"
          ? byNamespace[namespaceCase]
          : ({ enabled: "pod_enabled", disabled: "pod_disabled" }[podCase] ?? "pod_label_unknown");
      const labels = podLabel === undefined ? {} : { "remora.io/inject": podLabel };
      t.equal(
        reasonFor({ labels }, { kind: "namespace", label: readSwitch(namespaceLabel) }),
        expected,
        `namespace ${namespaceCase}, pod ${podCase}`,
      );
    }
  }
});

t.test("the command line injects what does not say otherwise", async (t) => {
  t.equal(reasonFor({}, { kind: "command" }), "asked");
  t.equal(reasonFor({ labels: { "remora.io/inject": "disabled" } }, { kind: "command" }), "pod_disabled");
  t.equal(reasonFor({ labels: { "remora.io/inject": "on" } }, { kind: "command" }), "pod_label_unknown");
});

t.test("pods in which a sidecar would do harm are left alone, whatever their label", async (t) => {
  const enabled = { "remora.io/inject": "enabled" };
  for (const namespace of ["kube-system", "kube-public", "kube-node-lease", "remora-system"]) {
    t.equal(reasonFor({ labels: enabled }, ENABLED, namespace), "system_namespace", namespace);
  }
  t.equal(reasonFor({ labels: enabled, annotations: { "kubernetes.io/config.mirror": "x" } }), "mirror_pod");
  t.equal(reasonFor({ labels: enabled, spec: { hostNetwork: true } }), "host_network");
  t.equal(reasonFor({ labels: enabled, spec: { os: { name: "windows" } } }), "windows");
  t.equal(reasonFor({ labels: enabled, spec: { nodeSelector: { "kubernetes.io/os": "windows" } } }), "windows");
  t.equal(reasonFor({ labels: enabled, spec: { nodeSelector: { "kubernetes.io/os": "linux" } } }), "pod_enabled");
  for (const name of ["istio-proxy", "linkerd-proxy", "consul-dataplane", "kuma-sidecar", "daprd"]) {
    t.equal(reasonFor({ spec: { initContainers: [{ name, restartPolicy: "Always" }] } }), "other_mesh", name);
  }
});

t.test("a pod whose traffic would escape the sidecar is refused", async (t) => {
  t.equal(reasonFor({ spec: { securityContext: { runAsUser: 1337 } } }), "runs_as_proxy_uid");
  t.equal(reasonFor({ spec: { containers: [{ name: "a", securityContext: { runAsUser: 1337 } }] } }), "runs_as_proxy_uid");
  t.equal(reasonFor({ spec: { initContainers: [{ name: "i", securityContext: { runAsUser: 1337 } }] } }), "runs_as_proxy_uid");
  const overridden = { securityContext: { runAsUser: 1337 }, containers: [{ name: "a", securityContext: { runAsUser: 1000 } }] };
  t.equal(reasonFor({ spec: overridden }), "namespace_enabled", "the container's own user id counts");
});

t.test("names and ports that Remora needs are refused clearly when they are taken", async (t) => {
  const messageFor = (spec: Record<string, unknown>) => injectPod(pod({ spec }), noSurroundings("shop"), ENABLED, SETTINGS).decision;
  t.match(messageFor({ initContainers: [{ name: "remora-init" }] }), {
    action: "refuse",
    reason: "name_conflict",
    message: /container remora-init/,
  });
  t.match(messageFor({ volumes: [{ name: "remora-token", emptyDir: {} }] }), { reason: "name_conflict", message: /volume remora-token/ });
  for (const port of [15001, 15006, 15020]) {
    const decision = messageFor({ containers: [{ name: "a", ports: [{ containerPort: port }] }] });
    t.match(decision, { action: "refuse", reason: "port_conflict", message: new RegExp(`${port} \\(container a\\)`) });
  }
  t.match(
    messageFor({ containers: [{ name: "a", ports: [{ containerPort: 15001, protocol: "UDP" }] }] }),
    { action: "inject" },
    "UDP is not in the way",
  );
});

t.test("every reason has one sentence, and no code means two things", async (t) => {
  const codes = [INJECT_REASONS, SKIP_REASONS, REFUSE_REASONS].flatMap((table) => Object.keys(table));
  t.equal(new Set(codes).size, codes.length);
  for (const code of codes) t.match(explainReason(code as keyof typeof SKIP_REASONS), /^[A-Z].*\.$/, code);
});
