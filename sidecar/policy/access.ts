// Who may call this workload (setting REMORA_ALLOW, annotation remora.io/allow): `*`, or a list as `core/policy/access-list.ts` reads it. Owns the yes or no;
// the identity itself was verified before (design 6), its trust domain included.
//
// HOT PATH: `*` is one branch; a list is one to three set lookups.
import { parseAccessList } from "../../core/policy/access-list.ts";
import type { SpiffeId } from "../../core/spiffe.ts";

const NAMESPACE_MARK = "/ns/";
const ACCOUNT_MARK = "/sa/";

/** A parsed list. Immutable. */
export interface AccessPolicy {
  /** True for `*`: everyone, callers without identity included. The sets are empty then. */
  readonly everyone: boolean;
  /** Whole SPIFFE ids. */
  readonly ids: ReadonlySet<string>;
  /** `ns/<namespace>/sa/<service-account>` of any accepted trust domain. */
  readonly workloads: ReadonlySet<string>;
  /** Namespaces written as `namespace/*`. */
  readonly namespaces: ReadonlySet<string>;
}

/** Reads `*` or a list. @throws ConfigError("invalid_value"), see {@link parseAccessList} */
export function parseAccess(text: string): AccessPolicy {
  const list = parseAccessList(text);
  const ids = new Set<string>();
  const workloads = new Set<string>();
  const namespaces = new Set<string>();
  for (const caller of list === "everyone" ? [] : list) {
    if (caller.kind === "namespace") namespaces.add(caller.namespace);
    else if (caller.kind === "workload") workloads.add(`ns/${caller.namespace}/sa/${caller.serviceAccount}`);
    else ids.add(caller.id);
  }
  return { everyone: list === "everyone", ids, workloads, namespaces };
}

/** True when `identity` may call. Null (plaintext, no verified identity) passes only where everyone does: fails closed. */
export function allows(policy: AccessPolicy, identity: SpiffeId | null): boolean {
  if (policy.everyone) return true;
  if (identity === null) return false;
  if (policy.ids.has(identity)) return true;
  // The brand guarantees spiffe://<td>/ns/<ns>/sa/<sa>, and no part may contain a slash.
  const namespaceAt = identity.indexOf(NAMESPACE_MARK);
  if (policy.workloads.size > 0 && policy.workloads.has(identity.slice(namespaceAt + 1))) return true;
  if (policy.namespaces.size === 0) return false;
  const from = namespaceAt + NAMESPACE_MARK.length;
  return policy.namespaces.has(identity.slice(from, identity.indexOf(ACCOUNT_MARK, from)));
}
