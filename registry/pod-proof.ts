// Whether an announcement comes from the pod that it names: the pod's UID, its namespace and service account against the certificate's, and its addresses.
// Pure: what is known of pods now decides, also while the API server is away.
import type { Lease } from "./lease.ts";
import { accountOf } from "./lease.ts";
import type { Pods } from "./service-source.ts";

/** How an announcement stands to the pods that are known. */
export type PodProof =
  /** The pod is the identity's, and every address is its own. */
  | { readonly kind: "proven" }
  /** The same for a pod on its node's network, where addresses are not the pod's alone. */
  | { readonly kind: "shared" }
  /** The pod is the identity's, and has no address yet as far as is known. */
  | { readonly kind: "unplaced" }
  /** `mayChange`: what speaks against it may be news that did not arrive yet. */
  | { readonly kind: "refused"; readonly message: string; readonly mayChange: boolean };

/** Compares `lease` with the pod whose UID it bears. */
export function provePod(lease: Lease, pods: Pods): PodProof {
  const pod = pods.get(lease.instanceId);
  if (pod === undefined) return refused(`there is no pod ${lease.instanceId}, or it is over`, true);
  const account = accountOf(lease.identity);
  if (pod.account !== account) return refused(`pod ${lease.instanceId} runs as ${pod.account}, not as ${account}`, false);
  if (pod.onHostNetwork && lease.inboundPort === 0) {
    // It would stand for every port of its node, which are other pods' and the kubelet's.
    return refused(`pod ${lease.instanceId} is on its node's network: it can be reached by an inbound port of its own only`, false);
  }
  if (pod.addresses.length === 0) return { kind: "unplaced" };
  const foreign = lease.addresses.find((address) => !pod.addresses.includes(address));
  if (foreign !== undefined) return refused(`address ${foreign} is not of pod ${lease.instanceId}`, true);
  return { kind: pod.onHostNetwork ? "shared" : "proven" };
}

function refused(message: string, mayChange: boolean): PodProof {
  return { kind: "refused", message, mayChange };
}
