// What `remora init` can be told: one table, read from the environment with the flags laid over it, so that both are checked alike.
import { type Environment, environmentName, loadConfig, setting } from "../../core/config.ts";
import { ConfigError } from "../../core/errors.ts";
import type { Backend } from "../../sidecar/capture/iptables.ts";
import { type CaptureSettings, parseCidrs, parsePorts } from "../../sidecar/capture/rules.ts";
import { sidecarSettings } from "../../sidecar/config.ts";

/** Settings of `remora init`; the injector sets them in the init container's environment. */
export const initSettings = {
  outboundPort: setting.port({ default: 15001, doc: "Port of the sidecar's outbound listener." }),
  inboundPort: setting.port({ default: 15006, doc: "Port of the sidecar's inbound listener." }),
  adminPort: setting.port({ default: 15020, doc: "Port of the sidecar's admin server; reached directly, never captured." }),
  proxyUid: setting.integer({ default: 1337, doc: "User id whose traffic is not captured: the sidecar's." }),
  skipInboundPorts: setting.list({ default: [], doc: "Ports whose inbound connections go straight to the app." }),
  skipOutboundPorts: setting.list({ default: [], doc: "Ports whose outbound connections are left alone." }),
  skipOutboundCidrs: setting.list({ default: [], doc: "Networks (IPv4 or IPv6, in CIDR notation) to which connections are left alone." }),
  iptablesBackend: setting.choice({
    values: ["default", "nft", "legacy"] as const,
    default: "default",
    doc: "Which flavour of iptables to run.",
  }),
};

/** The flags that set one of them, with the key in the table. */
export const INIT_FLAGS: ReadonlyArray<readonly [flag: string, key: keyof typeof initSettings]> = [
  ["--outbound-port <port>", "outboundPort"],
  ["--inbound-port <port>", "inboundPort"],
  ["--admin-port <port>", "adminPort"],
  ["--proxy-uid <uid>", "proxyUid"],
  ["--skip-inbound-ports <ports>", "skipInboundPorts"],
  ["--skip-outbound-ports <ports>", "skipOutboundPorts"],
  ["--skip-outbound-cidrs <cidrs>", "skipOutboundCidrs"],
  ["--backend <flavour>", "iptablesBackend"],
];

/** What the rules are made of, and which iptables is to run them. */
export interface InitConfig {
  readonly settings: CaptureSettings;
  readonly backend: Backend;
}

/** Reads the table; `flags` as commander gives them. @throws ConfigError */
export function readInitConfig(flags: Readonly<Record<string, unknown>>, env: Environment): InitConfig {
  const overlaid: Record<string, string | undefined> = { ...env };
  for (const [, key] of INIT_FLAGS) {
    const value = flags[flagKey(key)];
    if (typeof value === "string") overlaid[environmentName(key, initSettings[key])] = value;
  }
  // `--check` is also run in a sidecar's container, whose environment holds the sidecar's settings.
  const alsoKnown = Object.entries(sidecarSettings).map(([key, declared]) => environmentName(key, declared));
  const values = loadConfig("remora init", initSettings, overlaid, { alsoKnown });
  const settings: CaptureSettings = {
    outboundPort: values.outboundPort,
    inboundPort: values.inboundPort,
    adminPort: values.adminPort,
    proxyUid: values.proxyUid,
    skipInboundPorts: parsePorts("REMORA_SKIP_INBOUND_PORTS", values.skipInboundPorts),
    skipOutboundPorts: parsePorts("REMORA_SKIP_OUTBOUND_PORTS", values.skipOutboundPorts),
    skipOutboundCidrs: parseCidrs("REMORA_SKIP_OUTBOUND_CIDRS", values.skipOutboundCidrs),
  };
  refuseNonsense(settings);
  return { settings, backend: values.iptablesBackend };
}

function refuseNonsense(settings: CaptureSettings): void {
  if (settings.proxyUid === 0) {
    throw new ConfigError(
      "invalid_value",
      "REMORA_PROXY_UID: 0 is root; the traffic of every process that runs as root would go uncaptured",
    );
  }
  if (settings.outboundPort === 0 || settings.inboundPort === 0 || settings.adminPort === 0) {
    throw new ConfigError("invalid_value", "outbound, inbound and admin port must be fixed ports (1..65535): the rules name them");
  }
  const ports = [settings.outboundPort, settings.inboundPort, settings.adminPort];
  if (new Set(ports).size < ports.length) {
    throw new ConfigError("invalid_value", `outbound, inbound and admin port must differ, they are ${ports.join(", ")}`);
  }
}

/** Commander's name for the value of a flag. Only `--backend` is not called like its setting. */
function flagKey(key: keyof typeof initSettings): string {
  return key === "iptablesBackend" ? "backend" : key;
}
