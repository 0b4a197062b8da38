// Who of several replicas acts: the holder of a Lease (coordination.k8s.io/v1), as Kubernetes' own controllers do it. Time is each replica's own: a lease
// counts as given up once it was not renewed for its duration by the clock of who looks, so clocks may differ. Losing the API server means
// losing the lock before anybody else can have it.
import { bounded, microTime } from "../cluster/cluster-api.ts";
import type { KubeHttp } from "../cluster/kube-http.ts";

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

/** What of a Lease is used. */
interface Lease {
  readonly metadata?: { readonly resourceVersion?: string };
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string;
    readonly leaseTransitions?: number;
  };
}

/** The lock `name`, for `holder`, a name that is unique to this process. */
export function leaseLock(http: KubeHttp, { name, namespace, holder }: { name: string; namespace: string; holder: string }): LeaseLock {
  const leases = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  const own = `${leases}/${name}`;
  /** The last renewal that was seen of another holder, and when by our own clock. */
  let seen: { readonly version: string; readonly atMonoMs: number } | null = null;
  let held: Lease | null = null;

  async function read(): Promise<Lease | null> {
    return orNull(() => http.call("GET", own), [GONE]);
  }

  /** Null when somebody else was faster. */
  async function write(found: Lease | null, nowMs: number): Promise<Lease | null> {
    const now = microTime(nowMs);
    const isOurs = found?.spec?.holderIdentity === holder;
    const spec = {
      holderIdentity: holder,
      leaseDurationSeconds: LEASE_SECONDS,
      acquireTime: (isOurs ? found?.spec?.acquireTime : undefined) ?? now,
      renewTime: now,
      leaseTransitions: (found?.spec?.leaseTransitions ?? 0) + (found === null || isOurs ? 0 : 1),
    };
    if (found === null) {
      const fresh = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: { name, namespace }, spec };
      return orNull(() => http.call("POST", leases, json(fresh)), [CONFLICT]);
    }
    return orNull(() => http.call("PUT", own, json({ ...found, spec })), [CONFLICT, GONE]);
  }

  function isFree(lease: Lease, monoMs: number): boolean {
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
      await orNull(() => http.call("PUT", own, json(body)), [CONFLICT, GONE]).catch(() => null);
    },
  };

  function orNull(run: () => Promise<unknown>, expected: readonly number[]): Promise<Lease | null> {
    return bounded(run as () => Promise<Lease | null>, CALL_TIMEOUT_MS).catch((error: unknown) => {
      const code = (error as { readonly code?: unknown } | null)?.code;
      if (typeof code === "number" && expected.includes(code)) return null;
      throw error;
    });
  }
}

function json(value: object) {
  return { body: { type: "application/json", value } } as const;
}
