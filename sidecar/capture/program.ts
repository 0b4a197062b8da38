// Puts the rules into, or takes them out of, the network namespace the process runs in, for IPv4 and IPv6. Owns the order of steps and what is
// an error for which family: IPv4 must work; IPv6 must work where the pod has a routable IPv6 address, or its traffic would bypass the mesh.
import { CaptureError } from "./capture-error.ts";
import type { Iptables } from "./iptables.ts";
import type { Ipv6State } from "./ipv6-state.ts";
import { type CaptureSettings, type Family, formatRules, formatUndo, INBOUND_CHAIN, OUTPUT_CHAIN } from "./rules.ts";

/** What happened for one family. */
export type Outcome =
  | { readonly kind: "installed"; readonly family: Family; readonly wasPresent: boolean; readonly text: string }
  | { readonly kind: "removed"; readonly family: Family }
  | { readonly kind: "nothing_to_remove"; readonly family: Family }
  | { readonly kind: "unavailable"; readonly family: Family; readonly warning: string };

/** Installs the rules of both families. Any number of runs leaves the same rules. @throws CaptureError */
export function installRules(settings: CaptureSettings, iptables: Iptables, ipv6: Ipv6State): readonly Outcome[] {
  return [installFamily("ipv4", settings, iptables), tolerant(ipv6, () => installFamily("ipv6", settings, iptables))];
}

/** Removes everything of ours. Works on a namespace that has nothing of ours. @throws CaptureError */
export function removeRules(iptables: Iptables, ipv6: Ipv6State): readonly Outcome[] {
  return [removeFamily("ipv4", iptables), tolerant(ipv6, () => removeFamily("ipv6", iptables))];
}

/** The sentences that say what is missing for one family; none when both jumps and both redirects stand. @throws CaptureError */
export function missingRules(family: Family, settings: CaptureSettings, iptables: Iptables): readonly string[] {
  const present = iptables.present(family);
  const missing: string[] = [];
  const chains = [
    { chain: OUTPUT_CHAIN, from: "OUTPUT", port: settings.outboundPort },
    { chain: INBOUND_CHAIN, from: "PREROUTING", port: settings.inboundPort },
  ];
  for (const { chain, from, port } of chains) {
    if (!present.jumps.some((jump) => jump.startsWith(`-A ${from} `) && jump.endsWith(` ${chain}`))) {
      missing.push(`${from} does not lead to ${chain}`);
    }
    if (!present.rules.some((rule) => rule.startsWith(`-A ${chain} `) && rule.endsWith(` -j REDIRECT --to-ports ${port}`))) {
      missing.push(`${chain} does not redirect to port ${port}`);
    }
  }
  return missing;
}

function installFamily(family: Family, settings: CaptureSettings, iptables: Iptables): Outcome {
  const present = iptables.present(family);
  const text = formatRules(family, settings, present);
  iptables.apply(family, text);
  return { kind: "installed", family, wasPresent: present.jumps.length > 0, text };
}

function removeFamily(family: Family, iptables: Iptables): Outcome {
  const text = formatUndo(iptables.present(family));
  if (text === null) return { kind: "nothing_to_remove", family };
  iptables.apply(family, text);
  return { kind: "removed", family };
}

function tolerant(ipv6: Ipv6State, run: () => Outcome): Outcome {
  if (ipv6 === "off") return { kind: "unavailable", family: "ipv6", warning: "the kernel has no IPv6: nothing to capture" };
  try {
    return run();
  } catch (error) {
    // Fails closed: a routable address whose traffic is not captured is a way around the mesh.
    if (ipv6 === "routable" || !(error instanceof CaptureError)) throw error;
    return {
      kind: "unavailable",
      family: "ipv6",
      warning: `IPv6 is not captured, and this pod has no routable IPv6 address: ${error.message}`,
    };
  }
}
