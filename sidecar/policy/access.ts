// Who may call this workload (setting REMORA_ALLOW, annotation remora.io/allow): `*`, or a list of `namespace/service-account`, `namespace/*` and
// whole SPIFFE ids. Owns reading the list and the yes or no; the identity itself was verified before (design 6), its trust domain included.
//
// HOT PATH: `*` is one branch; a list is one to three set lookups.
import { ConfigError } from "../../core/errors.ts";
import { parseSpiffeId, type SpiffeId } from "../../core/spiffe.ts";

const LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const WORKLOAD = new RegExp(`^(${LABEL})/(\\*|${LABEL}(?:\\.${LABEL})*)$`);
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

/**
 * Reads `*` or a list separated by commas or spaces.
 * @throws ConfigError("invalid_value") naming position (1-based column), value and what is allowed. An empty list is an error: `*` opens a workload,
 * and nobody should close one by leaving a value out.
 */
export function parseAccess(text: string): AccessPolicy {
  const ids = new Set<string>();
  const workloads = new Set<string>();
  const namespaces = new Set<string>();
  const items = [...text.matchAll(/[^\s,]+/g)];
  if (items.length === 0) throw mistake(0, text);
  if (items.length === 1 && items[0]?.[0] === "*") return { everyone: true, ids, workloads, namespaces };
  for (const item of items) {
    const word = item[0];
    const match = WORKLOAD.exec(word);
    if (match !== null && match[2] === "*") namespaces.add(match[1] as string);
    else if (match !== null) workloads.add(`ns/${match[1]}/sa/${match[2]}`);
    else ids.add(readId(word, item.index));
  }
  return { everyone: false, ids, workloads, namespaces };
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

function readId(word: string, offset: number): string {
  try {
    return parseSpiffeId(word);
  } catch (cause) {
    throw mistake(offset, word, cause);
  }
}

function mistake(offset: number, value: string, cause?: unknown): ConfigError {
  const shown = value.slice(0, 100);
  const allowed = "* alone, or a list of NAMESPACE/SERVICE-ACCOUNT, NAMESPACE/* and spiffe:// ids";
  return new ConfigError(
    "invalid_value",
    `access list, column ${offset + 1}: ${shown.trim() === "" ? "nothing there" : `"${shown}"`}; allowed: ${allowed}`,
    {
      cause,
      fields: { position: offset + 1, value: shown, allowed },
    },
  );
}
