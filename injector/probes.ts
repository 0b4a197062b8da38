// Probes in strict mode: the kubelet has no mesh identity, so its http, tcp and gRPC probes are pointed at the sidecar's admin port, and the sidecar
// runs the original against the app. What the kubelet sees of pace and thresholds stays; exec probes run inside the container and stay as they are.
import type { Container, Pod, PortReference, Probe, ProbeField } from "./pod.ts";
import { PROBE_FIELDS } from "./pod.ts";

/** The longest that the sidecar waits for an app. */
const MAX_TIMEOUT_S = 3600;

/** The original of one probe with its port resolved, as the sidecar gets it in REMORA_PROBES under `<container>/<kind>`. */
export interface AppProbe {
  readonly httpGet?: {
    readonly path: string;
    readonly port: number;
    readonly scheme: string;
    readonly httpHeaders?: readonly { readonly name: string; readonly value: string }[];
  };
  readonly tcpSocket?: { readonly port: number };
  readonly grpc?: { readonly port: number; readonly service: string };
  readonly timeoutSeconds: number;
}

/** The result of {@link rewriteProbes}. */
export interface ProbeRewrite {
  readonly pod: Pod;
  /** For REMORA_PROBES; empty when nothing was rewritten. */
  readonly appProbes: Readonly<Record<string, AppProbe>>;
  /** The probes as they were, by container and field: what undoing needs. */
  readonly originals: Readonly<Record<string, Partial<Record<ProbeField, Probe>>>>;
  /** Sentences about probes that could not be rewritten. */
  readonly concerns: readonly string[];
}

/** Points the probes of all containers at `adminPort`, except those whose port is in `uncaptured`. */
export function rewriteProbes(pod: Pod, adminPort: number, uncaptured: readonly number[]): ProbeRewrite {
  const appProbes: [string, AppProbe][] = [];
  const originals: [string, Partial<Record<ProbeField, Probe>>][] = [];
  const concerns: string[] = [];

  function rewriteContainer(container: Container): Container {
    const changed: [ProbeField, Probe][] = [];
    for (const field of PROBE_FIELDS) {
      const probe = container[field];
      if (probe === undefined || probe === null) continue;
      const reading = readProbe(container, probe);
      switch (reading.kind) {
        case "untouched":
          continue;
        case "unresolved":
          concerns.push(
            `container ${container.name}: ${field} names the port ${reading.port}, which the container does not have, and stays as it is`,
          );
          continue;
        case "run":
          if (uncaptured.includes(portOf(reading.probe))) continue;
          appProbes.push([`${container.name}/${kindOf(field)}`, reading.probe]);
          changed.push([field, probe]);
      }
    }
    for (const hook of ["postStart", "preStop"] as const) {
      if (container.lifecycle?.[hook]?.httpGet == null) continue;
      concerns.push(`container ${container.name}: the ${hook} hook asks over http and is refused where the mode is strict; exec works`);
    }
    if (changed.length === 0) return container;
    originals.push([container.name, Object.fromEntries(changed)]);
    return {
      ...container,
      ...Object.fromEntries(changed.map(([field, probe]) => [field, redirect(probe, container.name, field, adminPort)])),
    };
  }

  const { initContainers } = pod.spec;
  const spec = {
    ...pod.spec,
    ...(initContainers == null ? {} : { initContainers: initContainers.map(rewriteContainer) }),
    containers: pod.spec.containers.map(rewriteContainer),
  };
  return { pod: { ...pod, spec }, appProbes: Object.fromEntries(appProbes), originals: Object.fromEntries(originals), concerns };
}

/** Path on the sidecar's admin port under which the probe of a container is found. */
export function appProbePath(container: string, field: ProbeField): string {
  return `/app-health/${container}/${kindOf(field)}`;
}

function kindOf(field: ProbeField): string {
  return field.slice(0, -"Probe".length);
}

/** What to do about a probe: let the sidecar run it, or leave it, in the second case because its port has no number. */
type Reading =
  | { readonly kind: "run"; readonly probe: AppProbe }
  | { readonly kind: "untouched" }
  | { readonly kind: "unresolved"; readonly port: string };

function readProbe(container: Container, probe: Probe): Reading {
  const timeoutSeconds = Math.min(probe.timeoutSeconds || 1, MAX_TIMEOUT_S); // 0 means the default, as the API server has it
  const { httpGet, tcpSocket, grpc } = probe;
  const ask = httpGet ?? tcpSocket ?? grpc;
  // With a host the kubelet asks that host, not this pod.
  if (ask == null || ("host" in ask && (ask.host ?? "") !== "")) return { kind: "untouched" };
  const port = resolvePort(container, ask.port);
  if (port === null) return { kind: "unresolved", port: JSON.stringify(String(ask.port).slice(0, 50)) };
  if (httpGet == null && grpc != null) return { kind: "run", probe: { grpc: { port, service: grpc.service ?? "" }, timeoutSeconds } };
  if (httpGet == null) return { kind: "run", probe: { tcpSocket: { port }, timeoutSeconds } };
  const { path = "/", scheme = "HTTP", httpHeaders } = httpGet;
  return { kind: "run", probe: { httpGet: { path, port, scheme, ...(httpHeaders == null ? {} : { httpHeaders }) }, timeoutSeconds } };
}

/** Kubernetes resolves a name among the ports of the same container; digits in quotes are a number too. Null when that gives no port. */
function resolvePort(container: Container, port: PortReference): number | null {
  const isNumber = typeof port === "number" || /^[0-9]{1,5}$/.test(port);
  const number = isNumber ? Number(port) : container.ports?.find((candidate) => candidate.name === port)?.containerPort;
  return number !== undefined && Number.isInteger(number) && number >= 1 && number <= 65535 ? number : null;
}

function portOf(probe: AppProbe): number {
  return probe.httpGet?.port ?? probe.tcpSocket?.port ?? probe.grpc?.port ?? 0;
}

function redirect(probe: Probe, container: string, field: ProbeField, adminPort: number): Probe {
  const { httpGet: _http, tcpSocket: _tcp, grpc: _grpc, ...pace } = probe;
  return { httpGet: { path: appProbePath(container, field), port: adminPort, scheme: "HTTP" }, ...pace };
}
