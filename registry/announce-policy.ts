// Who may announce what (design 8). The identity comes from the certificate; this decides whether that identity may use these service names
// and these addresses. Everything that is not allowed here is refused: there is no partial acceptance.
import { RegistryError } from "../core/errors.ts";
import { spiffeParts } from "../core/spiffe.ts";
import { canonicalAddress, isLoopback } from "./address.ts";
import type { Lease } from "./lease.ts";
import { accountOf } from "./lease.ts";
import type { ServiceSource } from "./service-source.ts";

/** What a policy answers when it allows. */
export interface AnnounceVerdict {
  /** True: a source says that the addresses are this instance's now, so that earlier holders of them are stale. */
  readonly proven: boolean;
}

/** Decides one announcement. `remoteAddress` is where the connection came from. Raises `RegistryError("forbidden")`. */
export type MayAnnounce = (lease: Lease, remoteAddress: string) => AnnounceVerdict;

/**
 * The default policy. Services are always in the identity's own namespace. Outside Kubernetes the name must be the service account's, or
 * be granted in the services file. In Kubernetes any name of the namespace may be announced: for a Service that exists, the API server
 * decides the members anyway. Addresses must be that of the connection, or a pod's by its UID, or granted; a connection over loopback may
 * announce loopback addresses.
 */
export function createAnnouncePolicy({
  source,
  kubernetes,
}: {
  readonly source: ServiceSource;
  readonly kubernetes: boolean;
}): MayAnnounce {
  return (lease, remoteAddress) => {
    const proven = refuseForeignPod(source, lease);
    if (!kubernetes) refuseForeignServices(source, lease);
    if (!proven) refuseForeignAddresses(source, lease, remoteAddress);
    return { proven };
  };
}

/** True when the source knows the pod and every address is one of its own. */
function refuseForeignPod(source: ServiceSource, lease: Lease): boolean {
  const pod = source.pod(lease.instanceId);
  if (pod === undefined) return false;
  if (pod.account !== accountOf(lease.identity)) {
    throw new RegistryError("forbidden", `pod ${lease.instanceId} runs as ${pod.account}, not as ${accountOf(lease.identity)}`);
  }
  return lease.addresses.every((address) => pod.addresses.includes(address));
}

function refuseForeignServices(source: ServiceSource, lease: Lease): void {
  const { namespace, serviceAccount } = spiffeParts(lease.identity);
  const granted = [...source.grants(lease.identity)];
  for (const service of lease.services) {
    if (service === serviceAccount || granted.some((grant) => grant.services.includes(service))) continue;
    const message = `${namespace}/${serviceAccount} may not announce the service "${service}": it is neither its own name nor granted`;
    throw new RegistryError("forbidden", message, { fields: { service } });
  }
}

function refuseForeignAddresses(source: ServiceSource, lease: Lease, remoteAddress: string): void {
  const remote = canonicalAddress(remoteAddress);
  const granted = [...source.grants(lease.identity)];
  for (const address of lease.addresses) {
    if (address === remote) continue;
    if (remote !== null && isLoopback(remote) && isLoopback(address)) continue;
    if (granted.some((grant) => grant.mayUse(address))) continue;
    const message = `address ${address} is not where the announcement comes from (${remote ?? "unknown"})`;
    throw new RegistryError("forbidden", message, { fields: { address } });
  }
}
