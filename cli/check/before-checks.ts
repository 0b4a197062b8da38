// What has to be so before Remora is installed: the user may make its objects, and nothing in the cluster will be in their way.
import { type Check, failed, ok } from "./check.ts";
import type { Access } from "./cluster.ts";
import { at, listAt, nameOf, namespaceOf, some, textAt, textsAt } from "./json.ts";

/** Webhooks of others that also put sidecars into pods, by the start of their configuration's name. */
const OTHER_MESHES: Readonly<Record<string, string>> = {
  istio: "Istio",
  linkerd: "Linkerd",
  consul: "Consul",
  kuma: "Kuma",
  dapr: "Dapr",
};

/** In the order of their output. */
export const beforeChecks: readonly Check[] = [
  {
    id: "may-install",
    category: "Before installation",
    title: "you may make every object of the installation",
    severity: "error",
    when: "before",
    doc: "An installation that stops in the middle leaves webhooks without a server.",
    needs: ["api-reachable"],
    async look(cluster) {
      const wanted = accessesToInstall(cluster.shipped);
      const answers = await Promise.all(wanted.map((access) => cluster.mayI(access)));
      const denied = wanted.filter((_, index) => answers[index] !== true).map(({ verb, resource }) => `${verb} ${resource}`);
      if (denied.length === 0) return ok(`${wanted.length} rights`);
      return failed(
        `you may not ${some(denied, 6)}`,
        'kubectl create clusterrolebinding remora-installer --clusterrole=cluster-admin --user="$(kubectl auth whoami -o jsonpath={.status.userInfo.username})"',
      );
    },
  },
  {
    id: "no-leftovers",
    category: "Before installation",
    title: "no other installation's webhooks have the names of ours",
    severity: "error",
    when: "before",
    doc: "Configurations of a removed installation refuse every pod of opted-in namespaces; two installations share one name.",
    needs: ["api-reachable"],
    async look({ list, controlNamespace, get }) {
      const found = [...(await webhooksOf(list, "mutating")), ...(await webhooksOf(list, "validating"))];
      const namespace = await get(`/api/v1/namespaces/${controlNamespace}`);
      const strangers = found.filter(
        ({ object }) =>
          nameOf(object) === "remora-injector" &&
          listAt(object, "webhooks").some(
            (hook) => namespace === null || textAt(hook, "clientConfig", "service", "namespace") !== controlNamespace,
          ),
      );
      if (strangers.length === 0) return ok();
      return failed(
        `${some(strangers.map(({ kind }) => `the ${kind} remora-injector`))} belongs to an installation that is not in ${controlNamespace}`,
        `kubectl delete ${strangers.map(({ kind }) => kind.toLowerCase()).join(",")} remora-injector`,
      );
    },
  },
  {
    id: "other-meshes",
    category: "Before installation",
    title: "no other mesh puts sidecars into pods of opted-in namespaces",
    severity: "warning",
    when: "both",
    doc: "Two sidecars in one pod would redirect each other's traffic. The injector leaves pods with a known sidecar of another mesh alone.",
    needs: ["api-reachable"],
    async look({ list }) {
      const others = (await webhooksOf(list, "mutating")).flatMap(({ object }) => {
        const mesh = Object.entries(OTHER_MESHES).find(([start]) => nameOf(object).startsWith(start))?.[1];
        const forPods = listAt(object, "webhooks").some((hook) =>
          listAt(hook, "rules").some((rule) => textsAt(rule, "resources").includes("pods")),
        );
        return mesh !== undefined && forPods ? [`${mesh} (${nameOf(object)})`] : [];
      });
      if (others.length === 0) return ok();
      return failed(`there is ${some(others)}`, "take its label off the namespaces that get remora.io/inject=enabled");
    },
  },
  {
    id: "control-namespace-usable",
    category: "Before installation",
    title: "the control plane's namespace is free, or usable",
    severity: "error",
    when: "before",
    doc: "A namespace that is being deleted takes nothing in.",
    needs: ["api-reachable"],
    async look({ get, controlNamespace }) {
      const namespace = await get(`/api/v1/namespaces/${controlNamespace}`);
      if (namespace === null) return ok("it will be made");
      if (at(namespace, "metadata", "deletionTimestamp") === undefined) return ok();
      return failed(`${controlNamespace} is being deleted`, `kubectl wait --for=delete namespace/${controlNamespace} --timeout=5m`);
    },
  },
  {
    id: "control-namespace-fits",
    category: "Before installation",
    title: "quotas of the control plane's namespace leave room for it",
    severity: "error",
    when: "before",
    doc: "Pods that a quota refuses never come, and nobody sees why but the ReplicaSet.",
    needs: ["api-reachable"],
    async look({ list, controlNamespace }) {
      const quotas = await list(`/api/v1/namespaces/${controlNamespace}/resourcequotas`);
      const full = quotas.filter(
        (quota) => textAt(quota, "spec", "hard", "pods") !== "" && Number(textAt(quota, "spec", "hard", "pods")) < 3,
      );
      if (full.length === 0) return ok();
      const named = full.map(nameOf);
      return failed(`${some(named)} allows fewer than 3 pods`, `kubectl -n ${controlNamespace} delete resourcequota ${named.join(" ")}`);
    },
  },
];

/** The verbs that `kubectl apply` uses, once for each kind and namespace. */
function accessesToInstall(objects: readonly unknown[]): readonly Access[] {
  const found = new Map<string, Access>();
  for (const object of objects) {
    const apiVersion = textAt(object, "apiVersion");
    const group = apiVersion.includes("/") ? (apiVersion.split("/")[0] ?? "") : "";
    const resource = pluralOf(textAt(object, "kind"));
    const namespace = namespaceOf(object);
    for (const verb of ["get", "create", "patch"]) {
      const access = { verb, group, resource, ...(namespace === "" ? {} : { namespace }) };
      found.set(`${verb} ${group} ${resource} ${namespace}`, access);
    }
  }
  return [...found.values()];
}

function pluralOf(kind: string): string {
  const lower = kind.toLowerCase();
  return lower.endsWith("y") ? `${lower.slice(0, -1)}ies` : `${lower}s`;
}

async function webhooksOf(list: (path: string) => Promise<readonly object[]>, sort: "mutating" | "validating") {
  const objects = await list(`/apis/admissionregistration.k8s.io/v1/${sort}webhookconfigurations`);
  return objects.map((object) => ({
    object,
    kind: sort === "mutating" ? "MutatingWebhookConfiguration" : "ValidatingWebhookConfiguration",
  }));
}
