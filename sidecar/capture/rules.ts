// The iptables rules of transparent capture (design 5), as text for iptables-restore. Pure: settings and what is already there go in, text comes out.
// Owns which traffic is captured and in which order; running the text is iptables.ts, saying so to people is `remora init`.
import { ConfigError } from "../../core/errors.ts";
import { type Cidr, type Family, readCidr } from "../../core/cidr.ts";
import { readPort } from "../../core/port.ts";

export type { Cidr, Family } from "../../core/cidr.ts";

/** The two chains that are ours; everything else in the nat table is left as it was. */
export const OUTPUT_CHAIN = "REMORA_OUTPUT";
export const INBOUND_CHAIN = "REMORA_INBOUND";

/** Most entries of one skip list: each is one rule that every new connection walks past. */
const MAX_SKIPS = 256;

/** DNS over TCP. Never captured: resolvers must answer before the sidecar is ready, and DNS over UDP is not captured either. */
const DNS_PORT = 53;

/** What to capture. Ports are 1..65535. */
export interface CaptureSettings {
  /** The sidecar's outbound listener; default 15001. */
  readonly outboundPort: number;
  /** The sidecar's inbound listener; default 15006. */
  readonly inboundPort: number;
  /** The sidecar's admin port, reached directly by the kubelet; default 15020. */
  readonly adminPort: number;
  /** The user id whose traffic is never captured: the sidecar's own; default 1337. */
  readonly proxyUid: number;
  readonly skipInboundPorts: readonly number[];
  readonly skipOutboundPorts: readonly number[];
  readonly skipOutboundCidrs: readonly Cidr[];
}

/** The part of `iptables-save -t nat` that is ours, made by {@link parsePresent}. */
export interface PresentRules {
  /** Jumps into our chains, as `-A` lines. */
  readonly jumps: readonly string[];
  readonly chains: readonly string[];
  /** Rules inside our chains, as `-A` lines. */
  readonly rules: readonly string[];
}

/** Nothing of ours is there: the state of a new pod. */
export const NOTHING_PRESENT: PresentRules = { jumps: [], chains: [], rules: [] };

/**
 * Input for `iptables-restore --noflush` (or `ip6tables-restore`) that leaves exactly our rules in place: own chains are emptied and refilled,
 * jumps that are `present` are replaced, so that any number of runs leaves one jump each. The kernel applies it as a whole or not at all.
 */
export function formatRules(family: Family, settings: CaptureSettings, present: PresentRules = NOTHING_PRESENT): string {
  return table([
    `:${OUTPUT_CHAIN} - [0:0]`,
    `:${INBOUND_CHAIN} - [0:0]`,
    ...present.jumps.map(asDelete),
    ...outboundRules(family, settings),
    ...inboundRules(settings),
    `-I OUTPUT -p tcp -j ${OUTPUT_CHAIN}`,
    `-I PREROUTING -p tcp -j ${INBOUND_CHAIN}`,
  ]);
}

/** Input for iptables-restore that removes everything of ours that is `present`; null when there is nothing to remove. */
export function formatUndo(present: PresentRules): string | null {
  if (present.jumps.length === 0 && present.chains.length === 0) return null;
  return table([
    ...present.jumps.map(asDelete),
    ...present.chains.map((chain) => `-F ${chain}`),
    ...present.chains.map((chain) => `-X ${chain}`),
  ]);
}

/** Finds what is ours in the output of `iptables-save -t nat`. */
export function parsePresent(saved: string): PresentRules {
  const lines = saved.split("\n").map((line) => line.trim());
  const names = [OUTPUT_CHAIN, INBOUND_CHAIN];
  return {
    jumps: lines.filter((line) => line.startsWith("-A ") && names.some((name) => line.endsWith(` -j ${name}`))),
    chains: names.filter((name) => lines.some((line) => line.startsWith(`:${name} `))),
    rules: lines.filter((line) => names.some((name) => line.startsWith(`-A ${name} `))),
  };
}

/** In the order in which a new outbound connection meets them; the first that matches decides. */
function outboundRules(family: Family, settings: CaptureSettings): string[] {
  const chain = `-A ${OUTPUT_CHAIN}`;
  return [
    // The sidecar's own connections, or each would come back to it. Its connections to the app of the same pod also pass here.
    `${chain} -m owner --uid-owner ${settings.proxyUid} -j RETURN`,
    // To self, by loopback or by the pod's own address: the kernel routes both through lo, and neither leaves the pod.
    `${chain} -o lo -j RETURN`,
    `${chain} -p tcp --dport ${DNS_PORT} -j RETURN`,
    ...settings.skipOutboundPorts.map((port) => `${chain} -p tcp --dport ${port} -j RETURN`),
    ...settings.skipOutboundCidrs
      .filter((cidr) => cidr.family === family)
      .map((cidr) => `${chain} -d ${cidr.address}/${cidr.prefixBits} -j RETURN`),
    `${chain} -p tcp -j REDIRECT --to-ports ${settings.outboundPort}`,
  ];
}

/**
 * 15001 and 15006 are redirected like any port: who dials 15001 from outside reaches the inbound listener, whose loop guard refuses it, and never
 * the outbound one, which would be an open proxy.
 */
function inboundRules(settings: CaptureSettings): string[] {
  const chain = `-A ${INBOUND_CHAIN}`;
  return [
    `${chain} -i lo -j RETURN`,
    `${chain} -p tcp --dport ${settings.adminPort} -j RETURN`,
    ...settings.skipInboundPorts.map((port) => `${chain} -p tcp --dport ${port} -j RETURN`),
    `${chain} -p tcp -j REDIRECT --to-ports ${settings.inboundPort}`,
  ];
}

function asDelete(addLine: string): string {
  return addLine.replace(/^-A /, "-D ");
}

function table(lines: readonly string[]): string {
  return `*nat\n${lines.join("\n")}\nCOMMIT\n`;
}

/**
 * A list of port numbers, e.g. `["25", "8080"]`; empty items are ignored, duplicates go.
 * @throws ConfigError `invalid_value` naming `setting`, the value and the bound.
 */
export function parsePorts(setting: string, items: readonly string[]): readonly number[] {
  const ports = bounded(setting, items).map((item) => {
    const port = readPort(item);
    if (port === null) throw new ConfigError("invalid_value", `${setting}: "${item}" is not a port (1..65535)`);
    return port;
  });
  return [...new Set(ports)];
}

/**
 * A list of networks, e.g. `["10.0.0.0/8", "fd00::/8"]`; a bare address means that one host.
 * @throws ConfigError `invalid_value` naming `setting`, the value and the bound.
 */
export function parseCidrs(setting: string, items: readonly string[]): readonly Cidr[] {
  return bounded(setting, items).map((item) => {
    const cidr = readCidr(item);
    if ("problem" in cidr) throw new ConfigError("invalid_value", `${setting}: "${item}" ${cidr.problem}`);
    return cidr;
  });
}

function bounded(setting: string, items: readonly string[]): string[] {
  const present = items.map((item) => item.trim()).filter((item) => item !== "");
  if (present.length > MAX_SKIPS)
    throw new ConfigError("invalid_value", `${setting}: ${present.length} entries, at most ${MAX_SKIPS} are allowed`);
  return present;
}
