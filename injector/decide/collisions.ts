// What of the names, paths and ports that Remora needs a pod already uses for itself. Facts, worded for people; `decide.ts` refuses the pod for them.
import { fieldsOf, itemsOf } from "../pod/loose-fields.ts";
import { ADMIN_PORT_NAME, INIT_CONTAINER, SIDECAR_CONTAINER, STATE_DIR, STATE_VOLUME, TOKEN_DIR, TOKEN_VOLUME } from "../pod/names.ts";
import { allContainers, type Container, HOOKS, type Pod, PROBE_FIELDS, resolvePort, runningContainers } from "../pod/pod.ts";
import type { InjectorSettings } from "../settings.ts";

const CONTAINERS: readonly string[] = [SIDECAR_CONTAINER, INIT_CONTAINER];
const VOLUMES: readonly string[] = [TOKEN_VOLUME, STATE_VOLUME];
const FOLDERS: readonly string[] = [TOKEN_DIR, STATE_DIR];

/** Containers, volumes and port names like ours, e.g. "container remora-init". */
export function namesTaken(pod: Pod): readonly string[] {
  const containers = allContainers(pod).filter(({ name }) => CONTAINERS.includes(name));
  const volumes = (pod.spec.volumes ?? []).filter(({ name }) => VOLUMES.includes(name));
  const ports = allContainers(pod).filter((container) => (container.ports ?? []).some(({ name }) => name === ADMIN_PORT_NAME));
  return [
    ...containers.map(({ name }) => `container ${name}`),
    ...volumes.map(({ name }) => `volume ${name}`),
    ...ports.map(({ name }) => `port ${ADMIN_PORT_NAME} of container ${name}`),
  ];
}

/** Mounts of our volumes, which hold the sidecar's credential, or at our paths, e.g. "volume remora-token (container web)". */
export function mountsTaken(pod: Pod): readonly string[] {
  return allContainers(pod).flatMap((container) =>
    mountsOf(container).flatMap(({ name, mountPath }) => {
      if (VOLUMES.includes(name)) return [`volume ${name} (container ${container.name})`];
      const folder = FOLDERS.find((ours) => isWithin(mountPath, ours));
      return folder === undefined ? [] : [`path ${folder} (container ${container.name})`];
    }),
  );
}

/** Uses of the sidecar's ports, e.g. "15001 (container web)". Only TCP is in the way. */
export function portsTaken(pod: Pod, settings: InjectorSettings): readonly string[] {
  const ours = [settings.outboundPort, settings.inboundPort, settings.adminPort];
  return runningContainers(pod).flatMap((container) => [...declared(container, ours), ...asked(container, ours)]);
}

function declared(container: Container, ours: readonly number[]): readonly string[] {
  const ports = (container.ports ?? []).filter(({ protocol }) => (protocol ?? "TCP") === "TCP");
  return ports.flatMap(({ containerPort, hostPort }) => {
    if (ours.includes(containerPort)) return [`${containerPort} (container ${container.name})`];
    return hostPort !== undefined && ours.includes(hostPort) ? [`${hostPort} of the host (container ${container.name})`] : [];
  });
}

/** A probe of a port that nobody declares says that the app listens there. */
function asked(container: Container, ours: readonly number[]): readonly string[] {
  const handlers = [
    ...PROBE_FIELDS.map((field) => [field, container[field]] as const),
    ...HOOKS.map((hook) => [hook, container.lifecycle?.[hook]] as const),
  ];
  return handlers.flatMap(([what, handler]) => {
    const ask = handler?.httpGet ?? handler?.tcpSocket ?? handler?.grpc;
    if (ask == null || ("host" in ask && (ask.host ?? "") !== "")) return [];
    const port = resolvePort(container, ask.port);
    return port !== null && ours.includes(port) ? [`${port} (${what} of container ${container.name})`] : [];
  });
}

interface Mount {
  readonly name: string;
  readonly mountPath: string;
}

function mountsOf(container: Container): readonly Mount[] {
  return itemsOf(container["volumeMounts"]).flatMap((mount) => {
    const { name, mountPath } = fieldsOf(mount);
    return typeof name === "string" && typeof mountPath === "string" ? [{ name, mountPath }] : [];
  });
}

function isWithin(path: string, folder: string): boolean {
  const plain = path.includes("//") ? path.replace(/\/+/g, "/") : path;
  // Nothing, or a slash, comes after the folder itself.
  return plain.startsWith(folder) && (plain.length === folder.length || plain[folder.length] === "/");
}
