// Which root the workload's leaf chains to and which roots it believes: what the registry is told, so that no step of a rotation cuts anybody off. Worked out once
// for each generation of credentials.
import { findRoot } from "../../core/x509/chain.ts";
import { rootIdOf } from "../../core/x509/root-id.ts";
import { parseChain } from "./generation.ts";
import type { Credentials } from "./identity-source.ts";

/** Ids are those of `rootIdOf`. */
export interface TrustReport {
  /** "" when the leaf is of no root that is trusted any more. */
  readonly issuedByRoot: string;
  readonly trustedRoots: readonly string[];
}

const reports = new WeakMap<Credentials, TrustReport>();

/** The report of `credentials`; the same object as long as they are the same. */
export function trustReport(credentials: Credentials, rules: { readonly trustDomain: string; readonly nowMs: number }): TrustReport {
  let report = reports.get(credentials);
  if (report === undefined) {
    const { roots } = credentials;
    const [leaf, ...issuers] = parseChain(credentials.certificateChainPem);
    const root = findRoot(leaf, { ...rules, issuers, roots });
    report = { issuedByRoot: root === null ? "" : rootIdOf(root), trustedRoots: roots.map(rootIdOf) };
    reports.set(credentials, report);
  }
  return report;
}
