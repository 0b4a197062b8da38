// Taking the sidecar out again: the exact opposite of `desired-pod.ts`, guided by the marker. What others added or changed meanwhile stays.
import { INJECTED_ANNOTATION } from "../annotations/annotations.ts";
import { DEFAULT_CONTAINER_ANNOTATION } from "./desired-pod.ts";
import { appHookPrefix } from "./hooks.ts";
import { type Marker, readMarker } from "./marker.ts";
import { INIT_CONTAINER, SIDECAR_CONTAINER, STATE_VOLUME, TOKEN_VOLUME } from "../pod/names.ts";
import { type Container, HOOKS, type Pod, PROBE_FIELDS, type Probe, type ProbeHandler } from "../pod/pod.ts";
import { appProbePath } from "./probes.ts";

const CONTAINERS: readonly string[] = [INIT_CONTAINER, SIDECAR_CONTAINER];
const VOLUMES: readonly string[] = [TOKEN_VOLUME, STATE_VOLUME];

/** The pod as it was before the injection; null when it carries no readable marker, which is how a pod without a sidecar looks. */
export function uninjectPod(pod: Pod): Pod | null {
  const marker = readMarker(pod);
  if (marker === null) return null;
  return withoutMarker(withSpec(pod, marker), marker);
}

function withSpec(pod: Pod, marker: Marker): Pod {
  const { initContainers, containers, volumes } = pod.spec;
  const restore = (items: readonly Container[]) =>
    named(items, CONTAINERS).map((container) => restoreHooks(restoreProbes(container, marker), marker));
  const spec = rebuild(pod.spec, {
    initContainers: initContainers == null ? initContainers : orAsItWas(restore(initContainers), marker.made["spec.initContainers"]),
    containers: restore(containers),
    volumes: volumes == null ? volumes : orAsItWas(named(volumes, VOLUMES), marker.made["spec.volumes"]),
  });
  return { ...pod, spec: spec as Pod["spec"] }; // `containers` is always set, the others may be null as they were
}

function withoutMarker(pod: Pod, marker: Marker): Pod {
  const kept = Object.entries(pod.metadata?.annotations ?? {}).filter(
    ([key, value]) => key !== INJECTED_ANNOTATION && !(key === DEFAULT_CONTAINER_ANNOTATION && isOurChoice(value, marker)),
  );
  const annotations = orAsItWas(Object.fromEntries(kept), marker.made["metadata.annotations"]);
  const metadata = orAsItWas(rebuild({ ...pod.metadata }, { annotations }), marker.made.metadata);
  return rebuild({ ...pod }, { metadata }) as unknown as Pod; // only metadata changes, and may be null as it was
}

/** Who changed the default container after us meant it. */
function isOurChoice(value: string, { defaultContainer }: Marker): boolean {
  return defaultContainer === true || defaultContainer === value;
}

/** Nothing of the owner's left in a part that we made: it goes back to what it was. */
function orAsItWas<Part extends object>(part: Part, was: "absent" | "null" | undefined): Part | null | undefined {
  const size = Array.isArray(part) ? part.length : Object.keys(part).length;
  if (was === undefined || size > 0) return part;
  return was === "null" ? null : undefined;
}

/** The same keys in the same order with some values replaced; an undefined value removes its key. */
function rebuild(fields: Readonly<Record<string, unknown>>, changes: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const entries = Object.entries(fields).map(([key, value]) => [key, Object.hasOwn(changes, key) ? changes[key] : value] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

function named<Item extends { readonly name: string }>(items: readonly Item[], names: readonly string[]): readonly Item[] {
  return items.filter(({ name }) => !names.includes(name));
}

/** A probe that somebody changed after the injection is theirs now and stays. */
function restoreProbes(container: Container, marker: Marker): Container {
  const originals = Object.hasOwn(marker.probes, container.name) ? marker.probes[container.name] : undefined;
  if (originals === undefined) return container;
  const restored: Record<string, Probe> = {};
  for (const field of PROBE_FIELDS) {
    const original = originals[field];
    if (original !== undefined && container[field]?.httpGet?.path === appProbePath(container.name, field)) restored[field] = original;
  }
  return { ...container, ...restored };
}

/** The same for hooks. */
function restoreHooks(container: Container, { hooks = {} }: Marker): Container {
  const originals = Object.hasOwn(hooks, container.name) ? hooks[container.name] : undefined;
  if (originals === undefined || container.lifecycle == null) return container;
  const restored: Record<string, ProbeHandler> = {};
  for (const hook of HOOKS) {
    const original = originals[hook];
    const path = container.lifecycle[hook]?.httpGet?.path;
    if (original !== undefined && path?.startsWith(appHookPrefix(container.name, hook)) === true) restored[hook] = original;
  }
  return { ...container, lifecycle: { ...container.lifecycle, ...restored } };
}
