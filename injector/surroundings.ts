// What the cluster around a pod says about it: the labels of its namespace, how old the kubelets are, the bounds on resources, and what the platform
// team decided. An immutable snapshot: whoever gathers it (watches in the webhook, flags or the API on the command line) does so off the path.
import { defaultPlatform, type Platform } from "./platform/platform.ts";

/** Quantities by resource name, as Kubernetes writes them: `{ cpu: "100m", memory: "64Mi" }`. */
export type Quantities = Readonly<Record<string, string>>;

/** One item of a LimitRange (Kubernetes API reference, core/v1 LimitRangeItem). */
export interface LimitRangeItemFacts {
  /** `Container`, `Pod`, or a kind that does not concern pods. */
  readonly type: string;
  readonly min: Quantities;
  readonly max: Quantities;
  /** Limits that a container gets which sets none. */
  readonly default: Quantities;
  /** Requests that a container gets which sets none. */
  readonly defaultRequest: Quantities;
  /** How many times its request a limit may be. */
  readonly maxLimitRequestRatio: Quantities;
}

/** What matters of a LimitRange. */
export interface LimitRangeFacts {
  readonly name: string;
  readonly items: readonly LimitRangeItemFacts[];
}

/** What matters of a ResourceQuota. */
export interface QuotaFacts {
  readonly name: string;
  /** Bounds by name, such as `requests.cpu`, `limits.memory` or `pods`. */
  readonly hard: Quantities;
  readonly used: Quantities;
  /** True when it holds for some pods only (`scopes` or `scopeSelector`). */
  readonly scoped: boolean;
}

/** The namespace of a pod. Defaults (`remora.io/*` annotations) and the Pod Security level are read from it. */
export interface NamespaceFacts {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

/** What the cluster around a pod says. */
export interface Surroundings {
  readonly namespace: NamespaceFacts;
  /** The oldest kubelet of the schedulable Linux nodes, e.g. "v1.31.2"; null where nodes are not known. */
  readonly oldestKubelet: string | null;
  readonly limitRanges: readonly LimitRangeFacts[];
  readonly quotas: readonly QuotaFacts[];
  readonly platform: Platform;
}

/** Surroundings of which nothing is known but the namespace's name: the command line without a cluster. */
export function noSurroundings(namespaceName: string): Surroundings {
  return {
    namespace: { name: namespaceName, labels: {}, annotations: {} },
    oldestKubelet: null,
    limitRanges: [],
    quotas: [],
    platform: defaultPlatform,
  };
}
