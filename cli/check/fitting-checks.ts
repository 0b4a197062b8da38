// What stands around the workloads of opted-in namespaces and does not fit to a sidecar in their pods: autoscalers, Jobs, Pod Security, bounds on resources.
import { parseQuantity, type QuantityUnit } from "../../injector/pod/quantity.ts";
import { SIDECAR_CONTAINER } from "../../injector/pod/names.ts";
import { readWatchedPod } from "../../injector/watchdog/naked-pods.ts";
import { type Check, failed, ok } from "./check.ts";
import { type Cluster, deployment, livingPods, variables } from "./cluster.ts";
import { type ApiObject, at, listAt, longNameOf, nameOf, namespaceOf, some, textAt } from "./json.ts";
import { injectLabelOf, settingsOf } from "./workload-checks.ts";

/** In the order of their output. */
export const fittingChecks: readonly Check[] = [
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
      return failed(some(wrong.map(longNameOf)), await scalerCommand(cluster, first));
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
        some(stuck.map(longNameOf)),
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
    async look(cluster) {
      const usual = variables(await deployment(cluster, "remora-injector"))["REMORA_SIDECAR_CAPTURE"] ?? "transparent";
      const strict = (await cluster.list("/api/v1/namespaces")).filter(
        (one) =>
          injectLabelOf(one) === "enabled" &&
          ["restricted", "baseline"].includes(textAt(one, "metadata", "labels", "pod-security.kubernetes.io/enforce")) &&
          !["explicit", "auto"].includes(textAt(one, "metadata", "annotations", "remora.io/capture") || usual),
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
      const optedIn = new Set((await list("/api/v1/namespaces")).filter((one) => injectLabelOf(one) === "enabled").map(nameOf));
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
        some(tight.map(longNameOf)),
        `kubectl -n ${namespaceOf(first)} edit ${kind} ${nameOf(first)}    # ${settings.cpuRequest} CPU and ${settings.memoryRequest} for each pod`,
      );
    },
  },
];

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
