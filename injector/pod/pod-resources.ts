// How much of a resource a pod asks for, as the scheduler and the bounds of a namespace count it: containers and native sidecars together, or the
// largest moment of the init containers. https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers
import { fieldsOf, textOf } from "./loose-fields.ts";
import type { Container, Pod } from "./pod.ts";
import { parseQuantity, type QuantityUnit } from "./quantity.ts";
import type { LimitRangeFacts } from "../surroundings.ts";

/** The resources that our containers set. */
export const RESOURCES = ["cpu", "memory"] as const;
/** One of {@link RESOURCES}. */
export type ResourceName = (typeof RESOURCES)[number];
/** The two sides of a container's resources. */
export type ResourceSide = "requests" | "limits";

/** What numbers of a resource count. */
export const UNIT_OF: Readonly<Record<ResourceName, QuantityUnit>> = { cpu: "milli", memory: "one" };

/** Request and limit of one resource of one container; null where it sets none. */
export interface Share {
  readonly request: number | null;
  readonly limit: number | null;
}

/** A container's share, with what it does not set filled in as the API server does it: from the limit, and from the namespace's defaults. */
export function shareOf(container: Container, resource: ResourceName, ranges: readonly LimitRangeFacts[]): Share {
  const given = readShare(container["resources"], resource);
  const limit = given.limit ?? defaultOf(ranges, "default", resource);
  return { limit, request: given.request ?? given.limit ?? defaultOf(ranges, "defaultRequest", resource) ?? limit };
}

/** What stands in a `resources` field. */
export function readShare(resources: unknown, resource: ResourceName): Share {
  return { request: readSide(resources, resource, "requests"), limit: readSide(resources, resource, "limits") };
}

function readSide(resources: unknown, resource: ResourceName, side: ResourceSide): number | null {
  const text = textOf(fieldsOf(resources)[side], resource);
  return text === undefined ? null : parseQuantity(text, UNIT_OF[resource]);
}

/** Amount of `resource` for the whole pod, with `extra` running next to it all its life. */
export function podTotal(pod: Pod, resource: ResourceName, side: ResourceSide, ranges: readonly LimitRangeFacts[], extra: number): number {
  const amount = (container: Container) => {
    const { request, limit } = shareOf(container, resource, ranges);
    return (side === "requests" ? request : limit) ?? 0;
  };
  let lasting = extra;
  let peak = extra;
  for (const container of pod.spec.initContainers ?? []) {
    if (container.restartPolicy === "Always") lasting += amount(container);
    peak = Math.max(peak, container.restartPolicy === "Always" ? lasting : lasting + amount(container));
  }
  const running = pod.spec.containers.reduce((sum, container) => sum + amount(container), lasting);
  const overhead = parseQuantity(textOf(pod.spec["overhead"], resource) ?? "0", UNIT_OF[resource]) ?? 0;
  return Math.max(peak, running) + overhead;
}

function defaultOf(ranges: readonly LimitRangeFacts[], field: "default" | "defaultRequest", resource: ResourceName): number | null {
  for (const { items } of ranges) {
    for (const item of items) {
      const text = item.type === "Container" ? item[field][resource] : undefined;
      if (text !== undefined) return parseQuantity(text, UNIT_OF[resource]);
    }
  }
  return null;
}
