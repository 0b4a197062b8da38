// Whether a pod still fits into the ResourceQuotas of its namespace once it has a sidecar. Only a warning: what is used changes all the time, and the API
// server counts it itself when the pod is stored.
import type { PlannedResources } from "./plan.ts";
import { podTotal, readShare, RESOURCES, type ResourceName, type ResourceSide, UNIT_OF } from "../pod/pod-resources.ts";
import type { Pod } from "../pod/pod.ts";
import { formatQuantity, parseQuantity } from "../pod/quantity.ts";
import type { QuotaFacts, Surroundings } from "../surroundings.ts";

/** Sentences about quotas that have room for the pod, but not for the pod with its sidecar. */
export function quotaWarnings(
  pod: Pod,
  sidecar: PlannedResources,
  { quotas, limitRanges }: Pick<Surroundings, "quotas" | "limitRanges">,
): readonly string[] {
  // A quota for some pods only says which by things that the API server knows better.
  return quotas
    .filter(({ scoped }) => !scoped)
    .flatMap((quota) =>
      RESOURCES.flatMap((resource) =>
        (["requests", "limits"] as const).flatMap((side) => {
          const left = leftOf(quota, resource, side);
          if (left === null) return [];
          const { request, limit } = readShare(sidecar, resource);
          const own = (side === "requests" ? request : limit) ?? 0;
          const [without, whole] = [0, own].map((extra) => podTotal(pod, resource, side, limitRanges, extra)) as [number, number];
          if (without > left || whole <= left) return [];
          const [has, takes] = [Math.max(0, left), whole].map((amount) => formatQuantity(amount, UNIT_OF[resource]));
          return [`ResourceQuota ${quota.name} has ${has} of ${side}.${resource} left, and the pod with its sidecar takes ${takes}`];
        }),
      ),
    );
}

/** What is left of a quota; null where it does not count this. `cpu` alone means `requests.cpu`. */
function leftOf({ hard, used }: QuotaFacts, resource: ResourceName, side: ResourceSide): number | null {
  const name = [`${side}.${resource}`, ...(side === "requests" ? [resource] : [])].find((key) => hard[key] !== undefined);
  if (name === undefined) return null;
  const most = parseQuantity(hard[name] ?? "", UNIT_OF[resource]);
  return most === null ? null : most - (parseQuantity(used[name] ?? "0", UNIT_OF[resource]) ?? 0);
}
