// What the registry says of the sidecars that should be reporting to it. It is asked through the API server, or at --control-address.
import { type ExplainedInstance, readRegistry } from "../explain/registry-view.ts";
import { buildInfo } from "../../core/build-info.ts";
import { readPodFacts } from "../../injector/rollout/pod-facts.ts";
import { type Check, failed, ok, unknown } from "./check.ts";
import { type Cluster, livingPods } from "./cluster.ts";
import { at, some, textAt } from "./json.ts";
import { restartCommands } from "./restart.ts";

/** Renewal starts at 70 % of a life of usually 24 h, so with less than this left it has failed for hours. */
const LEAST_LEFT_MS = 2 * 60 * 60_000;
/** A sidecar has this long to report for the first time. */
const GRACE_MS = 120_000;

/** In the order of their output. */
export const registryChecks: readonly Check[] = [
  {
    id: "registry-answers",
    category: "Registry",
    title: "the registry answers and is whole",
    severity: "error",
    when: "after",
    doc: "A registry that says `degraded` has lost its store and serves what it holds; no new replica starts.",
    needs: ["endpoints-remora-control"],
    async look({ registry, controlNamespace }) {
      const health = await registry("/api/v1/instances?namespace=remora-check").catch((error: unknown) =>
        error instanceof Error ? error : new Error(String(error)),
      );
      if (health instanceof Error) return unknown(`it could not be asked: ${health.message} (try --control-address)`);
      if (at(health, "degraded") !== true) return ok();
      return failed(
        "it is degraded: its Redis does not answer",
        `kubectl -n ${controlNamespace} logs deployment/remora-control | grep -i redis`,
      );
    },
  },
  {
    id: "heartbeats",
    category: "Registry",
    title: "every running sidecar is heard of",
    severity: "warning",
    when: "after",
    doc: "Whom the registry does not know, nobody in the mesh can call.",
    needs: ["registry-answers"],
    async look(cluster) {
      const { lost, heard } = await compare(cluster);
      const [first] = lost;
      if (first === undefined) return ok(`${heard.length} sidecars`);
      return failed(
        some(lost.map(({ namespace, name }) => `${namespace}/${name}`)),
        `kubectl -n ${first.namespace} logs ${first.name} -c remora-sidecar`,
      );
    },
  },
  {
    id: "workload-certificates",
    category: "Registry",
    title: "every sidecar's certificate is renewed in time",
    severity: "warning",
    when: "after",
    doc: "When it ends, the workload is cut off.",
    needs: ["registry-answers"],
    async look(cluster) {
      const { heard } = await compare(cluster);
      const late = heard.filter(
        ({ instance }) => instance.certExpiresAtMs > 0 && instance.certExpiresAtMs - cluster.nowMs() < LEAST_LEFT_MS,
      );
      const [first] = late;
      if (first === undefined) return ok();
      return failed(
        some(late.map(({ pod }) => `${pod.namespace}/${pod.name}`)),
        restartCommands([first.pod.owner, ...late.map(({ pod }) => pod.owner)]),
      );
    },
  },
  {
    id: "running-versions",
    category: "Registry",
    title: "running sidecars are of the version that their pods say",
    severity: "warning",
    when: "after",
    doc: "An image whose tag was moved runs something else than what was rolled out.",
    needs: ["registry-answers"],
    async look(cluster) {
      const { heard } = await compare(cluster);
      const other = heard.filter(
        ({ pod, instance }) => instance.version !== "" && pod.version !== null && !pod.hasOwnImage && instance.version !== pod.version,
      );
      const [first] = other;
      if (first === undefined) return ok(`this command is ${buildInfo().version}`);
      return failed(
        some(other.map(({ pod, instance }) => `${pod.namespace}/${pod.name} (${pod.version}, runs ${instance.version})`)),
        restartCommands([first.pod.owner, ...other.map(({ pod }) => pod.owner)]),
      );
    },
  },
];

/** Meshed pods with and without an instance. Those that have just started are in neither. */
async function compare(cluster: Cluster) {
  const pods = (await livingPods(cluster)).flatMap((object) => {
    const facts = readPodFacts(object);
    return facts === null || facts.version === null || textAt(object, "status", "phase") !== "Running" ? [] : [facts];
  });
  const instances = new Map<string, ExplainedInstance>();
  for (const namespace of new Set(pods.map((pod) => pod.namespace))) {
    const view = await readRegistry(cluster.registry, namespace);
    if (!view.known) throw new Error(view.why);
    for (const [id, instance] of view.instances) instances.set(id, instance);
  }
  const heard = pods.flatMap((pod) => {
    const instance = instances.get(pod.uid);
    return instance === undefined ? [] : [{ pod, instance }];
  });
  const lost = pods.filter((pod) => !instances.has(pod.uid) && cluster.nowMs() - pod.createdAtMs > GRACE_MS);
  return { heard, lost };
}
