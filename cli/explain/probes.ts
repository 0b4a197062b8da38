// Which probes and hooks of a pod were pointed at the sidecar, as the comparison of the pod before and after shows.
import { isDeepStrictEqual } from "node:util";
import { allContainers, HOOKS, type Pod, PROBE_FIELDS, type ProbeHandler } from "../../injector/pod/pod.ts";

/** One change. */
export interface ExplainedProbe {
  readonly container: string;
  /** `readinessProbe`, `lifecycle.preStop`, … */
  readonly field: string;
  /** How it asked, e.g. `http GET /ready on port http`. */
  readonly before: string;
  /** How it asks now. */
  readonly after: string;
}

/** Every probe and hook that differs. */
export function probesChanged(before: Pod, after: Pod, adminPort: number): readonly ExplainedProbe[] {
  const now = new Map(allContainers(after).map((container) => [container.name, container]));
  return allContainers(before).flatMap((container) => {
    const changed = now.get(container.name);
    const fields: readonly (readonly [string, ProbeHandler | undefined, ProbeHandler | undefined])[] = [
      ...PROBE_FIELDS.map((field) => [field, container[field], changed?.[field]] as const),
      ...HOOKS.map((hook) => [`lifecycle.${hook}`, container.lifecycle?.[hook], changed?.lifecycle?.[hook]] as const),
    ];
    return fields.flatMap(([field, was, is]) =>
      was == null || is == null || isDeepStrictEqual(was, is)
        ? []
        : [{ container: container.name, field, before: describe(was, adminPort), after: describe(is, adminPort) }],
    );
  });
}

function describe({ httpGet, tcpSocket, grpc, exec }: ProbeHandler, adminPort: number): string {
  if (httpGet != null) {
    const where = httpGet.port === adminPort ? `the sidecar's port ${adminPort}` : `port ${httpGet.port}`;
    return `${(httpGet.scheme ?? "HTTP").toLowerCase()} GET ${httpGet.path ?? "/"} on ${where}`;
  }
  if (tcpSocket != null) return `tcp connect to port ${tcpSocket.port}`;
  if (grpc != null) return `gRPC health${(grpc.service ?? "") === "" ? "" : ` of ${grpc.service}`} on port ${grpc.port}`;
  return exec == null ? "nothing" : "exec";
}
