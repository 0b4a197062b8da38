// What a local workload is, as environments (design 2, explicit capture): the sidecar's settings and what the app is told. Pure.
import type { PortProtocol } from "../../core/wire/port-protocol.ts";

/** A local process and the sidecar next to it. */
export interface Workload {
  readonly service: string;
  readonly namespace: string;
  readonly instanceId: string;
  /** Where the app listens; null for a program that only calls others. */
  readonly appPort: number | null;
  readonly protocol: PortProtocol;
  /** `host:port` of the control plane's gRPC port. */
  readonly controlAddress: string;
  /** Used for the first certificate; null when the state folder still holds a live one. */
  readonly joinToken: string | null;
  /** The sidecar's own folder. */
  readonly stateDir: string;
  readonly outboundPort: number;
  readonly inboundPort: number;
  readonly adminPort: number;
  /** The address announced to callers, and listened on. */
  readonly address: string;
  /** Further REMORA_* settings of the sidecar. */
  readonly settings: Readonly<Record<string, string>>;
}

/** The sidecar's environment, over what the caller's own environment says. */
export function sidecarEnv(workload: Workload, own: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return {
    ...own,
    REMORA_CAPTURE: "explicit",
    REMORA_NAMESPACE: workload.namespace,
    REMORA_SERVICE_ACCOUNT: workload.service,
    REMORA_INSTANCE_ID: workload.instanceId,
    REMORA_POD_NAME: `${workload.service}-${workload.instanceId.slice(0, 8)}`,
    REMORA_POD_IPS: workload.address,
    REMORA_SERVICES: workload.service,
    ...(workload.appPort === null ? {} : { REMORA_PORTS: formatPort(workload.appPort, workload.protocol) }),
    REMORA_CONTROL_ADDRESS: workload.controlAddress,
    ...(workload.joinToken === null ? {} : { REMORA_JOIN_TOKEN: workload.joinToken }),
    REMORA_STATE_DIR: workload.stateDir,
    REMORA_OUTBOUND_PORT: String(workload.outboundPort),
    REMORA_INBOUND_PORT: String(workload.inboundPort),
    REMORA_ADMIN_PORT: String(workload.adminPort),
    REMORA_BIND_ADDRESS: workload.address,
    ...workload.settings,
  };
}

/**
 * The app's environment: where to listen, and the sidecar as its HTTP proxy. REMORA_* of the sidecar are not passed on, the join token least
 * of all. Loopback addresses are left out of the proxying: they are the app's own affairs.
 */
export function appEnv(workload: Workload, own: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const outbound = `${workload.address}:${workload.outboundPort}`;
  const env = Object.fromEntries(Object.entries(own).filter(([name]) => !name.startsWith("REMORA_")));
  const noProxy = [own["NO_PROXY"] ?? own["no_proxy"] ?? "", "localhost,127.0.0.1,::1"].filter((part) => part !== "").join(",");
  return {
    ...env,
    ...(workload.appPort === null ? {} : { PORT: String(workload.appPort) }),
    HTTP_PROXY: `http://${outbound}`,
    http_proxy: `http://${outbound}`,
    NO_PROXY: noProxy,
    no_proxy: noProxy,
    REMORA_OUTBOUND: outbound,
  };
}

function formatPort(port: number, protocol: Workload["protocol"]): string {
  return protocol === "detect" ? String(port) : `${port}=${protocol}`;
}
