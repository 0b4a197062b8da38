// The workloads of opted-in namespaces: who has no sidecar though it should, whose is old, and what around them works against it. Whether a pod should
// have one is asked of the code that the webhook runs.
import { buildInfo } from "../../core/build-info.ts";
import { INJECT_LABEL } from "../../injector/annotations/annotations.ts";
import { readSwitch } from "../../injector/decide/report.ts";
import { SIDECAR_CONTAINER } from "../../injector/pod/names.ts";
import type { WorkloadOwner } from "../../injector/platform/channels.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { nakedWorkloads, readWatchedPod } from "../../injector/watchdog/naked-pods.ts";
import { type Check, failed, ok } from "./check.ts";
import { isRestartable, restartCommands } from "./restart.ts";
import { type Cluster, deployment, livingPods, variables } from "./cluster.ts";
import { type ApiObject, at, listAt, longNameOf, nameOf, namespaceOf, some, textAt } from "./json.ts";

const SYSTEM_NAMESPACES = ["kube-system", "kube-public", "kube-node-lease"];
/** Versions that may be apart (design 8): the wire protocol is kept over two minor versions. */
const MOST_MINORS_APART = 2;
/** A sidecar has this long to get ready before it is said not to be. */
const START_MS = 120_000;

/** In the order of their output. */
export const workloadChecks: readonly Check[] = [
  {
    id: "namespace-labels",
    category: "Workloads",
    title: `every ${INJECT_LABEL} label of a namespace is "enabled" or "disabled"`,
    severity: "error",
    when: "after",
    doc: "Any other word, another case and an empty value never inject.",
    needs: ["api-reachable"],
    async look({ list }) {
      const wrong = (await list("/api/v1/namespaces")).filter((one) => readSwitch(injectLabelOf(one)) === "unknown");
      if (wrong.length === 0) return ok();
      const named = wrong.map((one) => `${nameOf(one)} (${JSON.stringify(injectLabelOf(one))})`);
      return failed(some(named), `kubectl label namespace ${wrong.map(nameOf).join(" ")} ${INJECT_LABEL}=enabled --overwrite`);
    },
  },
  {
    id: "system-namespaces",
    category: "Workloads",
    title: "no system namespace is opted in",
    severity: "warning",
    when: "after",
    doc: "The label has no effect there: the cluster itself must not depend on the mesh.",
    needs: ["api-reachable"],
    async look({ list, controlNamespace }) {
      const labelled = (await list("/api/v1/namespaces")).filter(
        (one) => [...SYSTEM_NAMESPACES, controlNamespace].includes(nameOf(one)) && injectLabelOf(one) === "enabled",
      );
      if (labelled.length === 0) return ok();
      return failed(some(labelled.map(nameOf)), `kubectl label namespace ${labelled.map(nameOf).join(" ")} ${INJECT_LABEL}-`);
    },
  },
  {
    id: "pod-labels",
    category: "Workloads",
    title: `every ${INJECT_LABEL} label of a pod is "enabled" or "disabled"`,
    severity: "warning",
    when: "after",
    doc: "Such a pod is left alone, whatever its namespace says.",
    needs: ["api-reachable"],
    async look(cluster) {
      const wrong = (await livingPods(cluster)).filter((pod) => readSwitch(injectLabelOf(pod)) === "unknown");
      const [first] = wrong;
      if (first === undefined) return ok();
      const owner = readOwner(cluster, first);
      const template = JSON.stringify({ spec: { template: { metadata: { labels: { [INJECT_LABEL]: "enabled" } } } } });
      const fix = isRestartable(owner)
        ? `kubectl -n ${owner.namespace} patch ${owner.kind.toLowerCase()} ${owner.name} -p '${template}'`
        : `kubectl -n ${namespaceOf(first)} delete pod ${nameOf(first)}    # and make it anew with the right word`;
      return failed(some(wrong.map((pod) => `${namespaceOf(pod)}/${nameOf(pod)} (${JSON.stringify(injectLabelOf(pod))})`)), fix);
    },
  },
  {
    id: "naked-pods",
    category: "Workloads",
    title: "every pod that should have a sidecar has one",
    severity: "error",
    when: "after",
    doc: "Pods made before the label, or past the webhook, are outside of the mesh: strict workloads refuse them, and they refuse nobody.",
    needs: ["api-reachable"],
    async look(cluster) {
      const settings = settingsOf(cluster);
      const labels = new Map((await cluster.list("/api/v1/namespaces")).map((one) => [nameOf(one), readSwitch(injectLabelOf(one))]));
      const pods = (await livingPods(cluster)).map((pod) => readWatchedPod(pod, settings)).filter((pod) => pod !== null);
      const naked = [...nakedWorkloads(pods, (namespace) => labels.get(namespace) ?? null).values()];
      const [first] = naked;
      if (first === undefined) return ok(`${pods.filter(({ version }) => version !== null).length} sidecars`);
      const named = naked.map(({ owner, pods }) => `${owner.kind.toLowerCase()} ${owner.namespace}/${owner.name} (${pods.length})`);
      return failed(some(named), restartCommands([first.owner, ...naked.map(({ owner }) => owner)]));
    },
  },
  {
    id: "sidecar-versions",
    category: "Workloads",
    title: `no sidecar is more than ${MOST_MINORS_APART} minor versions from the control plane`,
    severity: "warning",
    when: "after",
    doc: "The wire protocol is kept over two minor versions.",
    needs: ["available-remora-injector"],
    async look(cluster) {
      const own = await controlVersion(cluster);
      const settings = settingsOf(cluster);
      const pods = (await livingPods(cluster)).map((pod) => readWatchedPod(pod, settings)).filter((pod) => pod !== null);
      const stale = pods.filter(({ version }) => version !== null && distance(version, own) > MOST_MINORS_APART);
      const [first] = stale;
      if (first === undefined) return ok(own);
      const named = stale.map(({ namespace, name, version }) => `${namespace}/${name} (${version})`);
      return failed(`${some(named)}; the control plane is ${own}`, restartCommands([first.owner, ...stale.map(({ owner }) => owner)]));
    },
  },
  {
    id: "sidecars-ready",
    category: "Workloads",
    title: "every sidecar is ready",
    severity: "warning",
    when: "after",
    doc: "Without a certificate a sidecar does not get ready, and its pod gets no traffic.",
    needs: ["api-reachable"],
    async look(cluster) {
      const waiting = (await livingPods(cluster)).filter((pod) => {
        const status = sidecarStatus(pod);
        return (
          status !== undefined &&
          at(status, "ready") !== true &&
          cluster.nowMs() - Date.parse(textAt(pod, "metadata", "creationTimestamp")) > START_MS
        );
      });
      const [first] = waiting;
      if (first === undefined) return ok();
      return failed(some(waiting.map(longNameOf)), `kubectl -n ${namespaceOf(first)} logs ${nameOf(first)} -c ${SIDECAR_CONTAINER}`);
    },
  },
];

/** The namespace's or pod's own switch, as it is written. */
export function injectLabelOf(object: ApiObject): string | undefined {
  const found = at(object, "metadata", "labels", INJECT_LABEL);
  return typeof found === "string" ? found : undefined;
}

/** As far as decisions about pods that exist need them. */
export function settingsOf({ controlNamespace }: Cluster) {
  return { ...defaultInjectorSettings(buildInfo().version), controlNamespace };
}

function readOwner(cluster: Cluster, pod: ApiObject): WorkloadOwner {
  return readWatchedPod(pod, settingsOf(cluster))?.owner ?? { namespace: namespaceOf(pod), kind: "Pod", name: nameOf(pod) };
}

function sidecarStatus(pod: ApiObject): ApiObject | undefined {
  const statuses = [...listAt(pod, "status", "initContainerStatuses"), ...listAt(pod, "status", "containerStatuses")];
  return statuses.find((one) => textAt(one, "name") === SIDECAR_CONTAINER);
}

/** The version of the control plane: the tag of its image where that is one, else this command's. */
async function controlVersion(cluster: Cluster): Promise<string> {
  const found = await deployment(cluster, "remora-injector");
  const [container] = listAt(found, "spec", "template", "spec", "containers");
  const image = textAt(container, "image") || (variables(found)["REMORA_SIDECAR_IMAGE"] ?? "");
  return /:v?(\d+\.\d+\.\d+[^@/:]*)(?:@|$)/.exec(image)?.[1] ?? buildInfo().version;
}

/** Minor versions apart; another major version is far away. */
function distance(a: string, b: string): number {
  const [majorA, minorA] = a.split(".").map(Number);
  const [majorB, minorB] = b.split(".").map(Number);
  if (majorA !== majorB) return Number.POSITIVE_INFINITY;
  return Math.abs((minorA ?? 0) - (minorB ?? 0));
}
