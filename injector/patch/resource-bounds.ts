// What a namespace demands of the resources of containers and pods: its LimitRanges (the strictest of several holds) and its ResourceQuotas, which make
// every container say what they count. https://kubernetes.io/docs/concepts/policy/limit-range/
import { type ResourceName, UNIT_OF } from "../pod/pod-resources.ts";
import { parseQuantity } from "../pod/quantity.ts";
import type { LimitRangeFacts, LimitRangeItemFacts, QuotaFacts } from "../surroundings.ts";

/** A number, and whose it is: "LimitRange small". */
export interface Bound {
  readonly amount: number;
  readonly source: string;
}

/** Bounds on one resource of each container, or of all containers of a pod together. */
export interface Bounds {
  readonly min: Bound | null;
  readonly max: Bound | null;
  /** How many times its request a limit may be. */
  readonly ratio: Bound | null;
}

/** What one resource of a container must respect. */
export interface ContainerBounds extends Bounds {
  /** Who demands that every container sets a request, or a limit; null where nobody does. */
  readonly demandsRequest: string | null;
  readonly demandsLimit: string | null;
  /** The limit that the namespace gives containers without one; null for none. */
  readonly usualLimit: number | null;
}

/** Nearly every namespace: nobody demands anything. */
const NO_BOUNDS: ContainerBounds = { min: null, max: null, ratio: null, demandsRequest: null, demandsLimit: null, usualLimit: null };

/** Bounds on each container. */
export function containerBounds(
  ranges: readonly LimitRangeFacts[],
  quotas: readonly QuotaFacts[],
  resource: ResourceName,
): ContainerBounds {
  if (ranges.length === 0 && quotas.length === 0) return NO_BOUNDS;
  const bounds = boundsOf(ranges, "Container", resource);
  const usual = ranges.flatMap(({ items }) => items.flatMap((item) => (item.type === "Container" ? [item.default[resource]] : [])));
  const [usualLimit] = usual.filter((text) => text !== undefined);
  return {
    ...bounds,
    demandsRequest: bounds.min?.source ?? bounds.ratio?.source ?? quotaThatCounts(quotas, [resource, `requests.${resource}`]),
    demandsLimit: bounds.max?.source ?? bounds.ratio?.source ?? quotaThatCounts(quotas, [`limits.${resource}`]),
    usualLimit: usualLimit === undefined ? null : parseQuantity(usualLimit, UNIT_OF[resource]),
  };
}

/** Bounds on the sum over a pod. */
export function podBounds(ranges: readonly LimitRangeFacts[], resource: ResourceName): Bounds {
  return boundsOf(ranges, "Pod", resource);
}

function boundsOf(ranges: readonly LimitRangeFacts[], type: "Container" | "Pod", resource: ResourceName): Bounds {
  if (ranges.length === 0) return NO_BOUNDS;
  const all = (field: "min" | "max" | "maxLimitRequestRatio") =>
    ranges.flatMap(({ name, items }) =>
      items.filter((item) => item.type === type).flatMap((item) => boundIn(item, field, resource, `LimitRange ${name}`)),
    );
  return {
    min: strictest(all("min"), Math.max),
    max: strictest(all("max"), Math.min),
    ratio: strictest(all("maxLimitRequestRatio"), Math.min),
  };
}

function boundIn(
  item: LimitRangeItemFacts,
  field: "min" | "max" | "maxLimitRequestRatio",
  resource: ResourceName,
  source: string,
): readonly Bound[] {
  const text = item[field][resource];
  if (text === undefined) return [];
  // A ratio has no unit; in thousandths, because it may be 1.5.
  const amount = field === "maxLimitRequestRatio" ? parseQuantity(text, "milli") : parseQuantity(text, UNIT_OF[resource]);
  if (amount === null) return [];
  return [{ amount: field === "maxLimitRequestRatio" ? amount / 1000 : amount, source }];
}

function strictest(bounds: readonly Bound[], choose: (...amounts: number[]) => number): Bound | null {
  if (bounds.length === 0) return null;
  const amount = choose(...bounds.map((bound) => bound.amount));
  return bounds.find((bound) => bound.amount === amount) ?? null;
}

function quotaThatCounts(quotas: readonly QuotaFacts[], names: readonly string[]): string | null {
  const quota = quotas.find(({ hard }) => names.some((name) => hard[name] !== undefined));
  return quota === undefined ? null : `ResourceQuota ${quota.name}`;
}
