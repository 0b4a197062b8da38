// Who of several replicas acts: the holder of a Lease (coordination.k8s.io/v1), as Kubernetes' own controllers do it. Time is each replica's own: a lease
// counts as given up once it was not renewed for its duration by the clock of who looks, so clocks may differ. Losing the API server means
// losing the lock before anybody else can have it.
import type { CoordinationV1Api, V1Lease } from "@kubernetes/client-node";
import { bounded } from "../cluster-api.ts";

/** How long a lock is held without being renewed. */
export const LEASE_SECONDS = 15;
const CONFLICT = 409;
const GONE = 404;
const CALL_TIMEOUT_MS = 4_000;

/** A lock that one replica holds at a time. */
export interface LeaseLock {
  /** Takes or renews it; true while it is ours. To be called every few seconds; rejects when the API server does not answer. */
  hold(nowMs: number, monoMs: number): Promise<boolean>;
  /** Gives it up, so that another need not wait. Never rejects. */
  release(): Promise<void>;
}

/** The lock `name`, for `holder`, a name that is unique to this process. */
export function leaseLock(
  api: CoordinationV1Api,
  { name, namespace, holder }: { name: string; namespace: string; holder: string },
): LeaseLock {
  /** The last renewal that was seen of another holder, and when by our own clock. */
  let seen: { readonly version: string; readonly atMonoMs: number } | null = null;
  let held: V1Lease | null = null;

  async function read(): Promise<V1Lease | null> {
    return orNull(() => api.readNamespacedLease({ name, namespace }), [GONE]);
  }

  /** Null when somebody else was faster. */
  async function write(found: V1Lease | null, nowMs: number): Promise<V1Lease | null> {
    const { V1MicroTime } = await import("@kubernetes/client-node");
    const now = new V1MicroTime(nowMs);
    const isOurs = found?.spec?.holderIdentity === holder;
    const spec = {
      holderIdentity: holder,
      leaseDurationSeconds: LEASE_SECONDS,
      acquireTime: (isOurs ? found?.spec?.acquireTime : undefined) ?? now,
      renewTime: now,
      leaseTransitions: (found?.spec?.leaseTransitions ?? 0) + (found === null || isOurs ? 0 : 1),
    };
    if (found === null)
      return orNull(() => api.createNamespacedLease({ namespace, body: { metadata: { name, namespace }, spec } }), [CONFLICT]);
    return orNull(() => api.replaceNamespacedLease({ name, namespace, body: { ...found, spec } }), [CONFLICT, GONE]);
  }

  function isFree(lease: V1Lease, monoMs: number): boolean {
    const owner = lease.spec?.holderIdentity ?? "";
    if (owner === "" || owner === holder) return true;
    const version = lease.metadata?.resourceVersion ?? "";
    if (seen?.version !== version) seen = { version, atMonoMs: monoMs };
    return monoMs - seen.atMonoMs >= (lease.spec?.leaseDurationSeconds ?? LEASE_SECONDS) * 1000;
  }

  return {
    async hold(nowMs, monoMs) {
      const found = await read();
      held = found !== null && !isFree(found, monoMs) ? null : await write(found, nowMs);
      return held !== null;
    },
    async release() {
      const lease = held;
      held = null;
      if (lease === null) return;
      const body = { ...lease, spec: { ...lease.spec, holderIdentity: "" } };
      await orNull(() => api.replaceNamespacedLease({ name, namespace, body }), [CONFLICT, GONE]).catch(() => null);
    },
  };

  function orNull<Value>(run: () => Promise<Value>, expected: readonly number[]): Promise<Value | null> {
    return bounded(run, CALL_TIMEOUT_MS).catch((error: unknown) => {
      const code = (error as { readonly code?: unknown } | null)?.code;
      if (typeof code === "number" && expected.includes(code)) return null;
      throw error;
    });
  }
}
