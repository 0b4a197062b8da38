// What does not stop an injection but may not work as the owner of the pod expects. One sentence each, without a full stop, shown as kubectl warnings.
import { isIP } from "node:net";
import { fieldsOf, itemsOf } from "../pod/loose-fields.ts";
import { asksOtherMesh } from "./other-mesh.ts";
import { type Pod, runningContainers } from "../pod/pod.ts";
import type { InjectorSettings } from "../settings.ts";

/** The domain of a cluster's own names, unless somebody chose another. */
const CLUSTER_DOMAIN = "cluster.local";

/** Everything worth a warning about a pod that gets a sidecar. */
export function findConcerns(pod: Pod, settings: InjectorSettings): readonly string[] {
  const names = nameConcern(pod, settings.controlAddress.replace(/:[0-9]+$/, "").replace(/^\[|\]$/g, ""));
  const other = asksOtherMesh(pod);
  return [
    ...uncarriedPorts(pod),
    ...(names === null ? [] : [names]),
    ...(other === null ? [] : [`the pod also asks for the sidecar of ${other}; two meshes in one pod are in each other's way`]),
  ];
}

function uncarriedPorts(pod: Pod): readonly string[] {
  return runningContainers(pod).flatMap((container) =>
    (container.ports ?? [])
      .filter(({ protocol }) => (protocol ?? "TCP") !== "TCP")
      .map(
        ({ containerPort, protocol }) =>
          `container ${container.name}: port ${containerPort} is ${protocol}, which does not pass through the sidecar`,
      ),
  );
}

/** Why the sidecar may not find the control plane at `host`; null when nothing speaks against it. */
function nameConcern(pod: Pod, host: string): string | null {
  const { dnsPolicy } = pod.spec;
  if ((dnsPolicy !== "None" && dnsPolicy !== "Default") || isIP(host) !== 0 || hasAlias(pod, host)) return null;
  // A name that the outside world knows is found with any policy.
  if (!/\.svc(\.|$)/.test(host) && host.includes(".")) return null;
  if (dnsPolicy === "Default") return `dnsPolicy Default asks the node's name servers, which do not know ${host}; ClusterFirst does`;
  const { nameservers, searches } = dnsConfigOf(pod);
  const given = nameservers.length === 0 ? "no name servers" : `the name servers ${nameservers.join(", ")}`;
  const isSearched = searches.some((domain) => domain.replace(/\.$/, "") === CLUSTER_DOMAIN) || host.endsWith(`.${CLUSTER_DOMAIN}`);
  return `dnsPolicy None asks ${given}; the sidecar needs the name ${host} from them${isSearched ? "" : `, and the search domain ${CLUSTER_DOMAIN}`}`;
}

function hasAlias(pod: Pod, host: string): boolean {
  return itemsOf(pod.spec["hostAliases"]).some((alias) => itemsOf(fieldsOf(alias)["hostnames"]).includes(host));
}

function dnsConfigOf(pod: Pod): { readonly nameservers: readonly string[]; readonly searches: readonly string[] } {
  const config = fieldsOf(pod.spec["dnsConfig"]);
  const texts = (name: string) => itemsOf(config[name]).filter((value) => typeof value === "string");
  return { nameservers: texts("nameservers"), searches: texts("searches") };
}
