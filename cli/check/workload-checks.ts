// The workloads of opted-in namespaces: who has no sidecar though it should, whose is old, and what around them works against it. Whether a pod should
// have one is asked of the code that the webhook runs.
import { buildInfo } from "../../core/build-info.ts";
import { INJECT_LABEL } from "../../injector/annotations.ts";
import { readSwitch } from "../../injector/report.ts";
import { SIDECAR_CONTAINER } from "../../injector/names.ts";
import { parseQuantity, type QuantityUnit } from "../../injector/quantity.ts";
import type { WorkloadOwner } from "../../injector/channels.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { nakedWorkloads, readWatchedPod } from "../../injector/watchdog/naked-pods.ts";
import { type Check, failed, ok } from "./check.ts";
import { type Cluster, deployment, livingPods, variables } from "./cluster.ts";
import { type ApiObject, at, listAt, nameOf, namespaceOf, some, textAt } from "./json.ts";

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
      const wrong = (await list("/api/v1/namespaces")).filter((one) => readSwitch(labelOf(one)) === "unknown");
      if (wrong.length === 0) return ok();
      const named = wrong.map((one) => `${nameOf(one)} (${JSON.stringify(labelOf(one))})`);
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
        (one) => [...SYSTEM_NAMESPACES, controlNamespace].includes(nameOf(one)) && labelOf(one) === "enabled",
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
      const wrong = (await livingPods(cluster)).filter((pod) => readSwitch(labelOf(pod)) === "unknown");
      const [first] = wrong;
      if (first === undefined) return ok();
      const owner = readOwner(cluster, first);
      const template = JSON.stringify({ spec: { template: { metadata: { labels: { [INJECT_LABEL]: "enabled" } } } } });
      const fix = isRestartable(owner)
        ? `kubectl -n ${owner.namespace} patch ${owner.kind.toLowerCase()} ${owner.name} -p '${template}'`
        : `kubectl -n ${namespaceOf(first)} delete pod ${nameOf(first)}    # and make it anew with the right word`;
      return failed(some(wrong.map((pod) => `${namespaceOf(pod)}/${nameOf(pod)} (${JSON.stringify(labelOf(pod))})`)), fix);
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
      const labels = new Map((await cluster.list("/api/v1/namespaces")).map((one) => [nameOf(one), readSwitch(labelOf(one))]));
      const pods = (await livingPods(cluster)).map((pod) => readWatchedPod(pod, settings)).filter((pod) => pod !== null);
      const naked = [...nakedWorkloads(pods, (namespace) => labels.get(namespace) ?? null).values()];
      const [first] = naked;
      if (first === undefined) return ok(`${pods.filter(({ version }) => version !== null).length} sidecars`);
      const named = naked.map(({ owner, pods }) => `${owner.kind.toLowerCase()} ${owner.namespace}/${owner.name} (${pods.length})`);
      return failed(some(named), restartCommand(first.owner));
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
      return failed(`${some(named)}; the control plane is ${own}`, restartCommand(first.owner));
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
      return failed(some(waiting.map(longName)), `kubectl -n ${namespaceOf(first)} logs ${nameOf(first)} -c ${SIDECAR_CONTAINER}`);
    },
  },
  {
    id: "autoscalers",
    category: "Workloads",
    title: "no autoscaler counts the sidecar's CPU or memory as the app's",
    severity: "warning",
    when: "after",
    doc: "A metric of type Resource adds up all containers; ContainerResource names one.",
    needs: ["api-reachable"],
    async look(cluster) {
      const settings = settingsOf(cluster);
      const meshed = new Set(
        (await livingPods(cluster)).flatMap((pod) => {
          const facts = readWatchedPod(pod, settings);
          return facts === null || facts.version === null ? [] : [`${facts.namespace}/${facts.owner.kind}/${facts.owner.name}`];
        }),
      );
      const wrong = (await cluster.list("/apis/autoscaling/v2/horizontalpodautoscalers")).filter(
        (scaler) =>
          listAt(scaler, "spec", "metrics").some((metric) => textAt(metric, "type") === "Resource") &&
          meshed.has(
            `${namespaceOf(scaler)}/${textAt(scaler, "spec", "scaleTargetRef", "kind")}/${textAt(scaler, "spec", "scaleTargetRef", "name")}`,
          ),
      );
      const [first] = wrong;
      if (first === undefined) return ok();
      return failed(some(wrong.map(longName)), await scalerCommand(cluster, first));
    },
  },
  {
    id: "finished-jobs",
    category: "Workloads",
    title: "no Job is kept from ending by its sidecar",
    severity: "warning",
    when: "after",
    doc: "A sidecar that is a plain container goes on when the app has ended; a native one does not.",
    needs: ["api-reachable"],
    async look(cluster) {
      const stuck = (await livingPods(cluster)).filter((pod) => {
        const statuses = listAt(pod, "status", "containerStatuses");
        const apps = statuses.filter((one) => textAt(one, "name") !== SIDECAR_CONTAINER);
        const ofJob = listAt(pod, "metadata", "ownerReferences").some((one) => textAt(one, "kind") === "Job");
        return (
          ofJob && apps.length > 0 && apps.length < statuses.length && apps.every((one) => at(one, "state", "terminated") !== undefined)
        );
      });
      const [first] = stuck;
      if (first === undefined) return ok();
      return failed(
        some(stuck.map(longName)),
        `kubectl -n ${namespaceOf(first)} delete pod ${nameOf(first)}    # and annotate its template: remora.io/native-sidecar=true`,
      );
    },
  },
  {
    id: "pod-security",
    category: "Workloads",
    title: "no opted-in namespace forbids what redirects traffic",
    severity: "warning",
    when: "after",
    doc: "The level `restricted` and `baseline` allow no NET_ADMIN, which the init container of transparent capture needs.",
    needs: ["api-reachable"],
    async look({ list }) {
      const strict = (await list("/api/v1/namespaces")).filter(
        (one) =>
          labelOf(one) === "enabled" &&
          ["restricted", "baseline"].includes(textAt(one, "metadata", "labels", "pod-security.kubernetes.io/enforce")) &&
          !["explicit", "auto"].includes(textAt(one, "metadata", "annotations", "remora.io/capture")),
      );
      if (strict.length === 0) return ok();
      return failed(some(strict.map(nameOf)), `kubectl annotate namespace ${strict.map(nameOf).join(" ")} remora.io/capture=auto`);
    },
  },
  {
    id: "room-for-sidecars",
    category: "Workloads",
    title: "quotas and limits of opted-in namespaces leave room for sidecars",
    severity: "warning",
    when: "after",
    doc: "Where there is no room, a pod is refused when it next restarts.",
    needs: ["api-reachable"],
    async look(cluster) {
      const { list } = cluster;
      const settings = settingsOf(cluster);
      const optedIn = new Set((await list("/api/v1/namespaces")).filter((one) => labelOf(one) === "enabled").map(nameOf));
      const tight = [
        ...(await list("/api/v1/resourcequotas")).filter(
          (quota) =>
            lacks(quota, ["requests.cpu", "cpu"], settings.cpuRequest, "milli") ||
            lacks(quota, ["requests.memory", "memory"], settings.memoryRequest, "one") ||
            lacks(quota, ["limits.memory"], settings.memoryLimit, "one"),
        ),
        ...(await list("/api/v1/limitranges")).filter((range) =>
          listAt(range, "spec", "limits").some(
            (limit) => textAt(limit, "type") === "Container" && isBelow(textAt(limit, "max", "memory"), settings.memoryRequest, "one"),
          ),
        ),
      ].filter((object) => optedIn.has(namespaceOf(object)));
      const [first] = tight;
      if (first === undefined) return ok();
      const kind = at(first, "status", "hard") === undefined && at(first, "spec", "limits") !== undefined ? "limitrange" : "resourcequota";
      return failed(
        some(tight.map(longName)),
        `kubectl -n ${namespaceOf(first)} edit ${kind} ${nameOf(first)}    # ${settings.cpuRequest} CPU and ${settings.memoryRequest} for each pod`,
      );
    },
  },
];

/** The command that makes a workload's pods anew. */
export function restartCommand(owner: WorkloadOwner): string {
  if (isRestartable(owner)) return `kubectl -n ${owner.namespace} rollout restart ${owner.kind.toLowerCase()}/${owner.name}`;
  return `kubectl -n ${owner.namespace} delete ${owner.kind.toLowerCase()} ${owner.name}    # and make it anew`;
}

function isRestartable({ kind }: WorkloadOwner): boolean {
  return ["Deployment", "StatefulSet", "DaemonSet"].includes(kind);
}

function labelOf(object: ApiObject): string | undefined {
  const found = at(object, "metadata", "labels", INJECT_LABEL);
  return typeof found === "string" ? found : undefined;
}

function longName(object: ApiObject): string {
  return `${namespaceOf(object)}/${nameOf(object)}`;
}

/** As far as decisions about pods that exist need them. */
function settingsOf({ controlNamespace }: Cluster) {
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

function lacks(quota: ApiObject, names: readonly string[], needed: string, unit: QuantityUnit): boolean {
  return names.some((name) => {
    const hard = parseQuantity(textAt(quota, "status", "hard", name) || textAt(quota, "spec", "hard", name), unit);
    const used = parseQuantity(textAt(quota, "status", "used", name) || "0", unit) ?? 0;
    const wanted = parseQuantity(needed, unit);
    return hard !== null && wanted !== null && hard - used < wanted;
  });
}

function isBelow(bound: string, needed: string, unit: QuantityUnit): boolean {
  const [most, wanted] = [bound === "" ? null : parseQuantity(bound, unit), parseQuantity(needed, unit)];
  return most !== null && wanted !== null && most < wanted;
}

/** Turns each Resource metric into one of the app's container: that which is the target's first. */
async function scalerCommand({ get }: Cluster, scaler: ApiObject): Promise<string> {
  const [kind, name] = [textAt(scaler, "spec", "scaleTargetRef", "kind"), textAt(scaler, "spec", "scaleTargetRef", "name")];
  const target = await get(`/apis/apps/v1/namespaces/${namespaceOf(scaler)}/${kind.toLowerCase()}s/${name}`);
  const container = nameOf({ metadata: listAt(target, "spec", "template", "spec", "containers")[0] });
  const operations = listAt(scaler, "spec", "metrics").flatMap((metric, index) =>
    textAt(metric, "type") === "Resource"
      ? [
          {
            op: "replace",
            path: `/spec/metrics/${index}`,
            value: { type: "ContainerResource", containerResource: { ...(at(metric, "resource") as object), container } },
          },
        ]
      : [],
  );
  return `kubectl -n ${namespaceOf(scaler)} patch hpa ${nameOf(scaler)} --type=json -p '${JSON.stringify(operations)}'`;
}
