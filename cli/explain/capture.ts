// What the sidecar of a pod will see of its traffic, read from what its two containers are told: so it is what `remora init` will do.
import { INIT_CONTAINER, SIDECAR_CONTAINER } from "../../injector/pod/names.ts";
import { allContainers, type Pod } from "../../injector/pod/pod.ts";

/** What is captured. Ports are TCP; UDP never is. */
export interface ExplainedCapture {
  /** `transparent`: every connection but the exceptions. `explicit`: only what the app sends to the outbound port itself. */
  readonly how: "transparent" | "explicit";
  readonly inbound: {
    /** Where the sidecar takes it. */
    readonly port: number;
    /** The declared ports and what they speak; others are captured too. */
    readonly ports: readonly { readonly port: number; readonly protocol: string }[];
    readonly skippedPorts: readonly number[];
  };
  readonly outbound: {
    readonly port: number;
    readonly skippedPorts: readonly number[];
    readonly skippedNetworks: readonly string[];
    /** Destinations whose bytes are not looked at; null for the sidecar's default. */
    readonly opaquePorts: readonly number[] | null;
  };
  /** Reached directly, by the kubelet and for metrics. */
  readonly adminPort: number;
  /** Traffic of this user is never captured; null where nothing is redirected. */
  readonly proxyUid: number | null;
}

/** DNS over TCP is never captured (design 5). */
const DNS_PORT = 53;

/** Reads it from a pod that has its sidecar. */
export function readCapture(pod: Pod): ExplainedCapture {
  const sidecar = variablesOf(pod, SIDECAR_CONTAINER);
  const init = variablesOf(pod, INIT_CONTAINER);
  const redirects = init !== null;
  const of = (name: string) => sidecar?.get(name) ?? "";
  const skipped = (name: string) => items(init?.get(name) ?? "");
  const opaque = of("REMORA_OPAQUE_PORTS");
  return {
    how: redirects ? "transparent" : "explicit",
    inbound: {
      port: Number(of("REMORA_INBOUND_PORT")),
      ports: items(of("REMORA_PORTS")).map((item) => {
        const [port = "", protocol = "detect"] = item.split("=");
        return { port: Number(port), protocol };
      }),
      skippedPorts: skipped("REMORA_SKIP_INBOUND_PORTS").map(Number),
    },
    outbound: {
      port: Number(of("REMORA_OUTBOUND_PORT")),
      skippedPorts: redirects ? [DNS_PORT, ...skipped("REMORA_SKIP_OUTBOUND_PORTS").map(Number)] : [],
      skippedNetworks: skipped("REMORA_SKIP_OUTBOUND_CIDRS"),
      opaquePorts: opaque === "" ? null : items(opaque).map(Number),
    },
    adminPort: Number(of("REMORA_ADMIN_PORT")),
    proxyUid: redirects ? Number(init.get("REMORA_PROXY_UID")) : null,
  };
}

function variablesOf(pod: Pod, name: string): ReadonlyMap<string, string> | null {
  const container = allContainers(pod).find((candidate) => candidate.name === name);
  if (container === undefined) return null;
  const env = (container["env"] ?? []) as readonly { readonly name: string; readonly value?: string }[]; // we made it
  return new Map(env.flatMap(({ name: key, value }) => (value === undefined ? [] : [[key, value] as const])));
}

function items(text: string): readonly string[] {
  return text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
}
