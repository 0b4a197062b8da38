// Everything that the kubelet asks of a pod's containers over the network, redirected to the sidecar: probes and http hooks of the containers that run next
// to it. Owns which are and which stay; what a redirected one looks like is probes.ts and hooks.ts.
import { type AppHook, appHookName, readHook, redirectHook } from "./hooks.ts";
import { type Container, HOOKS, type Hook, type Pod, PROBE_FIELDS, type Probe, type ProbeField, type ProbeHandler } from "../pod/pod.ts";
import { type AppProbe, appProbeName, readProbe, redirectProbe } from "./probes.ts";

/** Originals of one container. */
export type ContainerOriginals<Key extends string, Original> = Readonly<Partial<Record<Key, Original>>>;

/** The result of {@link redirectAsks}. */
export interface RedirectedAsks {
  readonly pod: Pod;
  /** For REMORA_PROBES and REMORA_HOOKS; empty when nothing was redirected. */
  readonly appProbes: Readonly<Record<string, AppProbe>>;
  readonly appHooks: Readonly<Record<string, AppHook>>;
  /** As they were, by container: what undoing needs. */
  readonly probes: Readonly<Record<string, ContainerOriginals<ProbeField, Probe>>>;
  readonly hooks: Readonly<Record<string, ContainerOriginals<Hook, ProbeHandler>>>;
  /** Sentences about what could not be redirected. */
  readonly concerns: readonly string[];
}

/** What {@link redirectAsks} needs to know. */
export interface RedirectOptions {
  readonly adminPort: number;
  /** Ports that the kubelet reaches without the sidecar. */
  readonly uncaptured: readonly number[];
  /** The secret part of the paths of hooks; asked for only where there are some. */
  readonly hookToken: () => string;
}

/** Points probes and http hooks at the admin port. */
export function redirectAsks(pod: Pod, options: RedirectOptions): RedirectedAsks {
  const found: Found = { appProbes: [], appHooks: [], probes: [], hooks: [], concerns: [] };
  const { initContainers } = pod.spec;
  const spec = {
    ...pod.spec,
    // Of the init containers only those that keep running have probes and hooks.
    ...(initContainers == null
      ? {}
      : {
          initContainers: initContainers.map((container) =>
            container.restartPolicy === "Always" ? redirectContainer(container, options, found) : container,
          ),
        }),
    containers: pod.spec.containers.map((container) => redirectContainer(container, options, found)),
  };
  return {
    pod: { ...pod, spec },
    appProbes: Object.fromEntries(found.appProbes),
    appHooks: Object.fromEntries(found.appHooks),
    probes: Object.fromEntries(found.probes),
    hooks: Object.fromEntries(found.hooks),
    concerns: found.concerns,
  };
}

/** No redirected probe or hook: where the kubelet reaches the app by itself. */
export function nothingRedirected(pod: Pod): RedirectedAsks {
  return { pod, appProbes: {}, appHooks: {}, probes: {}, hooks: {}, concerns: [] };
}

/** Containers whose probes or hooks still ask the app itself, although traffic to it is captured: somebody added them after the injection. */
export function directAsks(pod: Pod, options: RedirectOptions): readonly string[] {
  const { probes, hooks } = redirectAsks(pod, options);
  return [...new Set([...Object.keys(probes), ...Object.keys(hooks)])];
}

interface Found {
  readonly appProbes: [string, AppProbe][];
  readonly appHooks: [string, AppHook][];
  readonly probes: [string, ContainerOriginals<ProbeField, Probe>][];
  readonly hooks: [string, ContainerOriginals<Hook, ProbeHandler>][];
  readonly concerns: string[];
}

function redirectContainer(container: Container, options: RedirectOptions, found: Found): Container {
  const probes = redirectProbes(container, options, found);
  const hooks = redirectHooks(container, options, found);
  if (!hasAny(probes) && !hasAny(hooks)) return container;
  return { ...container, ...probes, ...(hasAny(hooks) ? { lifecycle: { ...container.lifecycle, ...hooks } } : {}) };
}

function redirectProbes(
  container: Container,
  { adminPort, uncaptured }: RedirectOptions,
  found: Found,
): ContainerOriginals<ProbeField, Probe> {
  const originals: Partial<Record<ProbeField, Probe>> = {};
  const redirected: Partial<Record<ProbeField, Probe>> = {};
  for (const field of PROBE_FIELDS) {
    const probe = container[field];
    if (probe == null) continue;
    const reading = readProbe(container, probe);
    if (reading.kind === "unresolved") found.concerns.push(unresolved(container, field, reading.port));
    if (reading.kind !== "ask" || isOwn(probe, adminPort) || uncaptured.includes(reading.port)) continue;
    found.appProbes.push([appProbeName(container.name, field), reading.probe]);
    originals[field] = probe;
    redirected[field] = redirectProbe(probe, container.name, field, adminPort);
  }
  if (hasAny(originals)) found.probes.push([container.name, originals]);
  return redirected;
}

function redirectHooks(container: Container, options: RedirectOptions, found: Found): ContainerOriginals<Hook, ProbeHandler> {
  const { adminPort, uncaptured, hookToken } = options;
  const originals: Partial<Record<Hook, ProbeHandler>> = {};
  const redirected: Partial<Record<Hook, ProbeHandler>> = {};
  for (const hook of HOOKS) {
    const handler = container.lifecycle?.[hook];
    if (handler?.httpGet == null) continue;
    const reading = readHook(container, handler, hookToken());
    if (reading.kind === "unresolved") found.concerns.push(unresolved(container, `the ${hook} hook`, reading.port));
    if (reading.kind !== "ask" || isOwn(handler, adminPort) || uncaptured.includes(reading.port)) continue;
    found.appHooks.push([appHookName(container.name, hook), reading.hook]);
    originals[hook] = handler;
    redirected[hook] = redirectHook(handler, container.name, hook, hookToken(), adminPort);
  }
  if (hasAny(originals)) found.hooks.push([container.name, originals]);
  return redirected;
}

function hasAny(fields: object): boolean {
  return Object.keys(fields).length > 0;
}

/** Asks the sidecar already. */
function isOwn({ httpGet }: ProbeHandler, adminPort: number): boolean {
  return httpGet?.port === adminPort;
}

function unresolved(container: Container, what: string, port: string): string {
  return `container ${container.name}: ${what} names the port ${port}, which the container does not have, and stays as it is`;
}
