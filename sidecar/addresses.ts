// Which addresses the sidecar binds, announces and forwards to, as the settings say or, where they are silent, as the capture implies.
import type { SidecarConfig } from "./config.ts";

/** Address of all ports. */
export function bindAddress(config: SidecarConfig): string {
  if (config.bindAddress !== "") return config.bindAddress;
  return config.capture === "transparent" ? "::" : "127.0.0.1";
}

/** Addresses as announced: the pod's, or the one the ports are bound to. */
export function addressesOf(config: SidecarConfig): readonly string[] {
  if (config.podIps.length > 0) return config.podIps;
  const bound = bindAddress(config);
  return bound === "::" || bound === "0.0.0.0" ? ["127.0.0.1"] : [bound];
}

/** Host of the app for connections that have no original destination. */
export function appHost(config: SidecarConfig): string {
  if (config.appHost !== "") return config.appHost;
  return config.capture === "explicit" ? "127.0.0.1" : (config.podIps[0] ?? "127.0.0.1");
}
