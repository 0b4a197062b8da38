// The kinds of workloads that can be explained, by the words that kubectl users know, and the pods that their controllers would ask for.
import { ConfigError } from "../../core/errors.ts";
import { nearestName } from "../../core/nearest.ts";

/** One kind. */
export interface WorkloadKind {
  readonly kind: string;
  /** Path of its resource in the API, with `{namespace}`. */
  readonly path: string;
  readonly words: readonly string[];
}

/** All of them. */
export const WORKLOAD_KINDS: readonly WorkloadKind[] = [
  { kind: "Pod", path: "/api/v1/namespaces/{namespace}/pods", words: ["pod", "pods", "po"] },
  { kind: "Deployment", path: "/apis/apps/v1/namespaces/{namespace}/deployments", words: ["deployment", "deployments", "deploy"] },
  { kind: "StatefulSet", path: "/apis/apps/v1/namespaces/{namespace}/statefulsets", words: ["statefulset", "statefulsets", "sts"] },
  { kind: "DaemonSet", path: "/apis/apps/v1/namespaces/{namespace}/daemonsets", words: ["daemonset", "daemonsets", "ds"] },
  { kind: "ReplicaSet", path: "/apis/apps/v1/namespaces/{namespace}/replicasets", words: ["replicaset", "replicasets", "rs"] },
  { kind: "Job", path: "/apis/batch/v1/namespaces/{namespace}/jobs", words: ["job", "jobs"] },
  { kind: "CronJob", path: "/apis/batch/v1/namespaces/{namespace}/cronjobs", words: ["cronjob", "cronjobs", "cj"] },
];

/** The kind that a word means. @throws ConfigError naming the nearest */
export function kindFromWord(word: string): WorkloadKind {
  const found = WORKLOAD_KINDS.find(({ words }) => words.includes(word.toLowerCase()));
  if (found !== undefined) return found;
  const words = WORKLOAD_KINDS.flatMap(({ words: known }) => known);
  const nearest = nearestName(word, words);
  const hint = nearest === null ? "" : `; did you mean ${nearest}?`;
  throw new ConfigError(
    "invalid_value",
    `${JSON.stringify(word.slice(0, 100))} is no kind of workload${hint} Known are ${WORKLOAD_KINDS.map(({ words: [first] }) => first).join(", ")}`,
  );
}

/** Stands where a controller puts a hash or a number. */
const HASH = "0000000000";
const CRON_TURN = "29000000";

/**
 * The pod that the controller of `kind` would ask for, so that owner, channel and place in a rollout are those of the real ones. A template of a kind
 * that we do not know stays as it is.
 */
export function podFromTemplate(template: unknown, kind: string, name: string): unknown {
  if (kind === "Pod" || !isObject(template)) return template;
  const metadata = isObject(template["metadata"]) ? template["metadata"] : {};
  const by = (controller: string, controllerName: string, labels: object = {}) => ({
    ...template,
    metadata: {
      ...metadata,
      generateName: `${controllerName}-`,
      labels: { ...(isObject(metadata["labels"]) ? metadata["labels"] : {}), ...labels },
      ownerReferences: [{ apiVersion: "apps/v1", kind: controller, name: controllerName, controller: true }],
    },
  });
  switch (kind) {
    case "Deployment":
      return by("ReplicaSet", `${name}-${HASH}`, { "pod-template-hash": HASH });
    case "CronJob":
      return by("Job", `${name}-${CRON_TURN}`);
    default:
      return by(kind, name);
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
