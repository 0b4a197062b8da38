// Requests and limits of our containers, fitted into what the namespace and the pod allow: the API server would refuse the pod because of a container
// that its owner never wrote. Fitted only within what the sidecar can live with; beyond that the pod is refused with the sentence that says why.
import type { Pod } from "../pod/pod.ts";
import { podTotal, readShare, type ResourceName, type ResourceSide, UNIT_OF } from "../pod/pod-resources.ts";
import { formatQuantity, parseQuantity } from "../pod/quantity.ts";
import { type Bound, type ContainerBounds, containerBounds, podBounds } from "./resource-bounds.ts";
import type { Surroundings } from "../surroundings.ts";

/** What one of our containers can live with, in the units of `UNIT_OF`. */
export interface Needs {
  /** A limit below would throttle or kill it. */
  readonly leastLimit: number;
  /** Set only where somebody demands a limit and settings give none. */
  readonly usualLimit: number;
  /** The most that is reserved because a bound says so; more only when an annotation asks for it. */
  readonly mostRequest: number;
}

/** What settings and annotations want, as text; a null limit sets none. */
export interface WantedShare {
  readonly request: string;
  readonly limit: string | null;
}

/** The outcome: texts for the container, and a sentence for each change; or the sentence why nothing fits. */
export type Fit =
  | { readonly kind: "fits"; readonly request: string; readonly limit: string | null; readonly changes: readonly string[] }
  | { readonly kind: "conflict"; readonly detail: string };

/** What is fitted, where. */
export interface FitSubject {
  /** For messages: "sidecar". */
  readonly what: string;
  /** Whether annotations can set what it wants. */
  readonly annotated: boolean;
  readonly pod: Pod;
  /** True for a container that runs next to the app all its life, and so adds to the pod's sum. */
  readonly lasting: boolean;
  readonly surroundings: Pick<Surroundings, "limitRanges" | "quotas">;
}

/** Fits one resource of one container. */
export function fitResource(subject: FitSubject, resource: ResourceName, wanted: WantedShare, needs: Needs): Fit {
  const unit = UNIT_OF[resource];
  const asked: Draft = {
    request: parseQuantity(wanted.request, unit) ?? 0,
    limit: wanted.limit === null ? null : parseQuantity(wanted.limit, unit),
  };
  const draft: Mutable = { request: asked.request, limit: asked.limit, sources: new Set() };
  const bounds = containerBounds(subject.surroundings.limitRanges, subject.surroundings.quotas, resource);
  const problem =
    fitContainer(draft, bounds, needs, asked) ??
    (subject.lasting ? fitPod(draft, subject, resource, bounds, needs, asked) : null) ??
    fitPodLevel(draft, subject, resource, needs) ??
    belowMinimum(draft, bounds);
  if (problem !== null) {
    return { kind: "conflict", detail: describeProblem(subject, resource, problem, asked) };
  }
  return {
    kind: "fits",
    request: draft.request === asked.request ? wanted.request : formatQuantity(draft.request, unit),
    limit:
      draft.limit === null ? null : draft.limit === asked.limit && wanted.limit !== null ? wanted.limit : formatQuantity(draft.limit, unit),
    changes: describeChanges(subject.what, resource, asked, draft),
  };
}

interface Draft {
  readonly request: number;
  readonly limit: number | null;
}

interface Mutable {
  request: number;
  limit: number | null;
  /** Whose bounds moved something. */
  readonly sources: Set<string>;
}

/** What cannot be met: which side would have to be `amount`, and who says so. */
interface Problem {
  readonly side: ResourceSide;
  readonly amount: number;
  readonly source: string;
}

/** The bounds on each container. */
function fitContainer(draft: Mutable, bounds: ContainerBounds, needs: Needs, asked: Draft): Problem | null {
  const { min, max, ratio, demandsLimit, usualLimit } = bounds;
  if (draft.limit === null && demandsLimit !== null) {
    draft.limit = Math.max(needs.leastLimit, draft.request, usualLimit ?? needs.usualLimit);
    // Chosen by us: as large as the ratio lets it be without reserving more.
    if (ratio !== null) draft.limit = Math.min(draft.limit, Math.max(needs.leastLimit, Math.floor(draft.request * ratio.amount)));
    draft.sources.add(demandsLimit);
  }
  if (min !== null && draft.request < min.amount) raiseRequest(draft, min);
  if (min !== null && draft.limit !== null && draft.limit < min.amount) setLimit(draft, min);
  if (max !== null && draft.limit !== null && draft.limit > max.amount) setLimit(draft, max);
  const problem = checkRoom(draft, max, needs, asked);
  if (problem !== null) return problem;
  return ratio === null ? null : fitRatio(draft, ratio, 0, 0, bounds, needs, asked);
}

/** Sums over the pod, which the owner's own containers mostly use up. Where the pod breaks a bound without us, that is for the API server to say. */
function fitPod(
  draft: Mutable,
  subject: FitSubject,
  resource: ResourceName,
  each: ContainerBounds,
  needs: Needs,
  asked: Draft,
): Problem | null {
  const { limitRanges } = subject.surroundings;
  const { max, ratio } = podBounds(limitRanges, resource);
  if (max === null && ratio === null) return null;
  const total = (side: ResourceSide, extra: number) => podTotal(subject.pod, resource, side, limitRanges, extra);
  if (max !== null) {
    for (const side of ["limits", "requests"] as const) {
      const own = side === "limits" ? (draft.limit ?? 0) : draft.request;
      const excess = total(side, own) - max.amount;
      if (excess <= 0 || total(side, 0) > max.amount) continue;
      if (side === "limits") setLimit(draft, { amount: own - excess, source: max.source });
      else draft.request = own - excess;
      draft.sources.add(max.source);
    }
    const problem = checkRoom(draft, max, needs, asked);
    if (problem !== null) return { ...problem, source: max.source };
  }
  if (ratio === null) return null;
  const rest = { limits: total("limits", 0), requests: total("requests", 0) };
  const fitsWithout = rest.requests === 0 || rest.limits <= rest.requests * ratio.amount;
  return !fitsWithout ? null : fitRatio(draft, ratio, rest.limits, rest.requests, each, needs, asked);
}

/** `spec.resources`: what the containers reserve may not be more than the pod does, and no limit may be above the pod's. */
function fitPodLevel(draft: Mutable, subject: FitSubject, resource: ResourceName, needs: Needs): Problem | null {
  const { request, limit } = readShare(subject.pod.spec["resources"], resource);
  const source = "resources of the pod itself";
  const reserved = request ?? limit;
  if (limit !== null && draft.limit !== null && draft.limit > limit) setLimit(draft, { amount: limit, source });
  if (limit !== null && draft.limit !== null && draft.limit < needs.leastLimit) return { side: "limits", amount: draft.limit, source };
  if (reserved === null || !subject.lasting) return null;
  const others = podTotal(subject.pod, resource, "requests", [], 0);
  if (others + draft.request <= reserved) return null;
  // The pod reserves for all of them: a share of our own is not needed.
  draft.request = Math.max(0, reserved - others);
  draft.sources.add(source);
  return null;
}

/** Limit over request, together with `limits` and `requests` of others: first more is reserved, then the limit is lowered. */
function fitRatio(
  draft: Mutable,
  ratio: Bound,
  limits: number,
  requests: number,
  each: ContainerBounds,
  needs: Needs,
  asked: Draft,
): Problem | null {
  if (draft.limit === null) return null;
  const needed = Math.ceil((limits + draft.limit) / ratio.amount - requests);
  if (needed <= draft.request) return null;
  const most = Math.min(Math.max(needs.mostRequest, asked.request), draft.limit, each.max?.amount ?? Number.POSITIVE_INFINITY);
  raiseRequest(draft, { amount: Math.min(needed, most), source: ratio.source });
  const allowed = Math.floor((requests + draft.request) * ratio.amount - limits);
  if (draft.limit > allowed) setLimit(draft, { amount: allowed, source: ratio.source });
  return draft.limit < needs.leastLimit && draft.limit !== asked.limit
    ? { side: "limits", amount: draft.limit, source: ratio.source }
    : null;
}

function checkRoom(draft: Mutable, max: Bound | null, needs: Needs, asked: Draft): Problem | null {
  if (draft.limit !== null && draft.limit < needs.leastLimit && draft.limit !== asked.limit)
    return { side: "limits", amount: draft.limit, source: max?.source ?? "" };
  const most = Math.max(needs.mostRequest, asked.request);
  if (draft.request > most) return { side: "requests", amount: draft.request, source: [...draft.sources].join(", ") };
  if (draft.request < 0) return { side: "requests", amount: draft.request, source: max?.source ?? "" };
  const ceiling = Math.min(draft.limit ?? Number.POSITIVE_INFINITY, max?.amount ?? Number.POSITIVE_INFINITY);
  if (draft.request > ceiling) draft.request = ceiling;
  return null;
}

/** Two bounds may contradict each other; then nothing fits. */
function belowMinimum(draft: Mutable, { min }: ContainerBounds): Problem | null {
  if (min === null) return null;
  if (draft.request < min.amount) return { side: "requests", amount: draft.request, source: min.source };
  return draft.limit !== null && draft.limit < min.amount ? { side: "limits", amount: draft.limit, source: min.source } : null;
}

function raiseRequest(draft: Mutable, { amount, source }: Bound): void {
  draft.request = amount;
  draft.sources.add(source);
}

function setLimit(draft: Mutable, { amount, source }: Bound): void {
  draft.limit = amount;
  if (draft.request > amount) draft.request = amount;
  draft.sources.add(source);
}

function describeProblem({ what, annotated }: FitSubject, resource: ResourceName, { side, amount, source }: Problem, asked: Draft): string {
  const shown = formatQuantity(Math.max(0, amount), UNIT_OF[resource]);
  const one = side === "limits" ? "limit" : "request";
  const wanted = side === "limits" ? asked.limit : asked.request;
  const instead = wanted === null ? "" : ` instead of ${formatQuantity(wanted, UNIT_OF[resource])}`;
  return `${source} would make the ${what}'s ${resource} ${one} ${shown}${instead}; change that${annotated ? `, or set remora.io/${resource}-${one} to what it may be` : ""}`;
}

function describeChanges(what: string, resource: ResourceName, asked: Draft, draft: Mutable): readonly string[] {
  const unit = UNIT_OF[resource];
  const changes = (["request", "limit"] as const).flatMap((side) => {
    const [before, after] = [asked[side], draft[side]];
    if (before === after || after === null) return [];
    return [`${resource} ${side} ${formatQuantity(after, unit)}${before === null ? "" : ` instead of ${formatQuantity(before, unit)}`}`];
  });
  return changes.length === 0 ? [] : [`the ${what} gets ${changes.join(" and ")}: ${[...draft.sources].join(", ")}`];
}
