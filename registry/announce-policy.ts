// Who may announce what (design 8). The identity comes from the certificate; this decides whether that identity may use these service names
// and these addresses. Everything that is not allowed here is refused: there is no partial acceptance.
import { RegistryError } from "../core/errors.ts";
import { spiffeParts } from "../core/spiffe.ts";
import { canonicalAddress, isLoopback } from "./address.ts";
import type { Lease } from "./lease.ts";
import { type PodProof, provePod } from "./pod-proof.ts";
import type { Pods, ServiceSource } from "./service-source.ts";

/** What a policy answers when it allows. */
export interface AnnounceVerdict {
  /** True: a source says that the addresses are this instance's now, so that earlier holders of them are stale. */
  readonly proven: boolean;
}

/**
 * Decides one announcement. `remoteAddress` is where the connection came from. Raises, or rejects with, `RegistryError("forbidden")`. A promise is
 * returned only where the decision has to wait for news.
 */
export type MayAnnounce = (lease: Lease, remoteAddress: string) => AnnounceVerdict | Promise<AnnounceVerdict>;

/** How long an announcement waits for the API server's word on its pod, of which a sidecar may know a moment before us. */
const PATIENCE_MS = 2_000;
/** Changes of the pod that are looked at while it waits. */
const MAX_CHANGES = 8;

/**
 * The default policy. Services are always in the identity's own namespace. Outside Kubernetes the name must be the service account's, or
 * be granted in the services file. In Kubernetes any name of the namespace may be announced: for a Service that exists, the API server
 * decides the members anyway. Where pods are known, the instance must be a pod of the identity and the addresses must be its own. Elsewhere addresses
 * must be that of the connection, or granted; a connection over loopback may announce loopback addresses.
 */
export function createAnnouncePolicy({
  source,
  kubernetes,
}: {
  readonly source: ServiceSource;
  readonly kubernetes: boolean;
}): MayAnnounce {
  const { pods } = source;
  return (lease, remoteAddress) => {
    if (!kubernetes) refuseForeignServices(source, lease);
    if (pods !== null) return judgePod(pods, lease, remoteAddress);
    refuseForeignAddresses(source, lease, remoteAddress);
    return { proven: false };
  };
}

function judgePod(pods: Pods, lease: Lease, remoteAddress: string): AnnounceVerdict | Promise<AnnounceVerdict> {
  const proof = provePod(lease, pods);
  return mayChange(proof) ? judgeLater(pods, lease, remoteAddress) : conclude(proof, pods, lease, remoteAddress);
}

async function judgeLater(pods: Pods, lease: Lease, remoteAddress: string): Promise<AnnounceVerdict> {
  let proof = provePod(lease, pods);
  for (let changes = 0; mayChange(proof) && changes < MAX_CHANGES; changes += 1) {
    if (!(await pods.changed(lease.instanceId, PATIENCE_MS))) break;
    proof = provePod(lease, pods);
  }
  return conclude(proof, pods, lease, remoteAddress);
}

function mayChange(proof: PodProof): boolean {
  return proof.kind === "unplaced" || (proof.kind === "refused" && proof.mayChange);
}

function conclude(proof: PodProof, pods: Pods, lease: Lease, remoteAddress: string): AnnounceVerdict {
  switch (proof.kind) {
    case "proven":
      return { proven: true };
    case "shared":
      return { proven: false };
    case "unplaced":
      refuseUnplaced(pods, lease, remoteAddress);
      return { proven: false };
    case "refused":
      throw new RegistryError("forbidden", proof.message, { fields: { instance: lease.instanceId } });
  }
}

/** The kubelet may start a pod's containers before it told anybody the pod's address: then the connection says where the pod is. */
function refuseUnplaced(pods: Pods, { instanceId, addresses }: Lease, remoteAddress: string): void {
  const remote = canonicalAddress(remoteAddress);
  for (const address of addresses) {
    const [other] = pods.at(address);
    if (address === remote && other === undefined) continue;
    const message = `pod ${instanceId} has no address yet, and ${address} is ${other === undefined ? "not where it announces itself from" : "another pod's"}`;
    throw new RegistryError("forbidden", message, { fields: { address } });
  }
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
