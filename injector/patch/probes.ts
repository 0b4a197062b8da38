// Probes in strict mode: the kubelet has no mesh identity, so its http, tcp and gRPC probes are pointed at the sidecar's admin port, and the sidecar
// runs the original against the app. What the kubelet sees of pace and thresholds stays; exec probes run inside the container and stay as they are.
import { type AppAsk, type AskReading, readAsk } from "./app-ask.ts";
import { type Container, HOOKS, PROBE_FIELDS, type Probe, type ProbeField } from "../pod/pod.ts";

/** The longest that the sidecar waits for an app. */
const MAX_TIMEOUT_S = 3600;

/** The original of one probe, as the sidecar gets it in REMORA_PROBES under `<container>/<kind>`. */
export type AppProbe = AppAsk & { readonly timeoutSeconds: number };

/** What becomes of one probe. */
export type ProbeReading =
  | { readonly kind: "ask"; readonly probe: AppProbe; readonly port: number }
  | Exclude<AskReading, { readonly kind: "ask" }>;

/** Reads a probe of `container`. */
export function readProbe(container: Container, probe: Probe): ProbeReading {
  const reading = readAsk(container, probe);
  if (reading.kind !== "ask") return reading;
  const timeoutSeconds = Math.min(probe.timeoutSeconds || 1, MAX_TIMEOUT_S); // 0 means the default, as the API server has it
  return { kind: "ask", port: reading.port, probe: { ...reading.ask, timeoutSeconds } };
}

/** The probe that asks the sidecar instead: everything but the handler stays. */
export function redirectProbe(probe: Probe, container: string, field: ProbeField, adminPort: number): Probe {
  const { httpGet: _http, tcpSocket: _tcp, grpc: _grpc, ...pace } = probe;
  return { httpGet: { path: appProbePath(container, field), port: adminPort, scheme: "HTTP" }, ...pace };
}

/** Path on the sidecar's admin port under which the probe of a container is found. */
export function appProbePath(container: string, field: ProbeField): string {
  return `/app-health/${appProbeName(container, field)}`;
}

/** Name of a probe in REMORA_PROBES. */
export function appProbeName(container: string, field: ProbeField): string {
  return `${container}/${field.slice(0, -"Probe".length)}`;
}

/** True where the kubelet would ask the container over the network, by a probe or a hook. */
export function hasNetworkHandler(container: Container): boolean {
  const handlers = [...PROBE_FIELDS.map((field) => container[field]), ...HOOKS.map((hook) => container.lifecycle?.[hook])];
  return handlers.some((handler) => handler != null && readAsk(container, handler).kind === "ask");
}
