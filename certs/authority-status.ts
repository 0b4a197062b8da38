// What a control plane says of its CA (`GET /api/v1/ca`, `remora ca status`): names, times and ids, nothing secret. Of several replicas each says its own.
import type { X509Certificate } from "node:crypto";
import type { AuditFields } from "../core/audit/audit.ts";
import { factsOf } from "../core/x509/chain.ts";
import { rootIdOf } from "../core/x509/root-id.ts";
import { keyIdOf } from "../core/x509/certificate.ts";
import { keyName } from "../core/x509/signature.ts";
import type { AuthorityState, RotationStep } from "./authority-data.ts";
import type { AuthoritySource } from "./authority-source.ts";

/** One CA certificate. Times are ISO. */
export interface CertificateStatus {
  /** {@link rootIdOf}. */
  readonly id: string;
  readonly subject: string;
  /** Hex; what leaves name as their authority key id. */
  readonly keyId: string;
  readonly key: string;
  readonly notBefore: string;
  readonly notAfter: string;
}

/** A root, and what it does. `signs`: leaves of now chain to it. `next`: it will sign. `old`: it has signed. */
export interface RootStatus extends CertificateStatus {
  readonly role: "signs" | "next" | "old" | "trusted";
}

/** The CA of one process. */
export interface AuthorityStatus {
  readonly place: string;
  readonly kind: "folder" | "secret" | "files" | "stored";
  readonly trustDomain: string;
  /** Null where nothing signs: read from what is kept, without a control plane. */
  readonly leafTtlMs: number | null;
  readonly step: RotationStep;
  /** Epoch ms; 0 when there was no rotation. */
  readonly sinceMs: number;
  /** Step `added`: the next root has signed already, and was taken back. */
  readonly hasGoneBack: boolean;
  /** Epoch ms since which this process signs nothing but leaves of the root that signs now; null where nothing signs. */
  readonly signsSinceMs: number | null;
  readonly roots: readonly RootStatus[];
  /** Between leaf and root, what signs first; empty when the root itself signs. */
  readonly issuers: readonly CertificateStatus[];
  /** What is kept and cannot be taken. */
  readonly trouble: { readonly since: string; readonly message: string } | null;
}

/** The status of a running CA. */
export function describeAuthority(
  source: Pick<AuthoritySource, "place" | "current" | "trouble" | "signsSinceMs">,
  { trustDomain, leafTtlMs }: { readonly trustDomain: string; readonly leafTtlMs: number },
): AuthorityStatus {
  const trouble = source.trouble();
  return {
    ...describeState(source.current(), source.place.place, trustDomain),
    kind: source.place.kind,
    leafTtlMs,
    signsSinceMs: source.signsSinceMs(),
    trouble: trouble === null ? null : { since: new Date(trouble.sinceMs).toISOString(), message: trouble.message },
  };
}

/** The status of a CA that is kept at `place`. */
export function describeState(state: AuthorityState, place: string, trustDomain: string): AuthorityStatus {
  return {
    place,
    kind: "stored",
    trustDomain,
    leafTtlMs: null,
    step: state.step,
    sinceMs: state.sinceMs,
    hasGoneBack: state.hasGoneBack,
    signsSinceMs: null,
    roots: state.roots.map((root) => ({ ...describe(root), role: roleOf(root, state) })),
    issuers: state.signer.issuers.map(describe),
    trouble: null,
  };
}

/** What the audit trail says of a CA that was taken into use. */
export function auditFieldsOf({ step, signer, roots }: AuthorityState, place: string): AuditFields {
  return {
    place,
    step,
    signs: rootIdOf(signer.anchor),
    issuer: describe(signer.certificate).keyId,
    trusts: roots.map(rootIdOf),
    notAfter: new Date(signer.notAfterMs).toISOString(),
  };
}

function roleOf(root: X509Certificate, { signer, other, step }: AuthorityState): RootStatus["role"] {
  if (root.raw.equals(signer.anchor.raw)) return "signs";
  if (other?.raw.equals(root.raw) === true) return step === "added" ? "next" : "old";
  return "trusted";
}

function describe(certificate: X509Certificate): CertificateStatus {
  const keyId = factsOf(certificate)?.extensions.subjectKeyId ?? keyIdOf(certificate.publicKey);
  return {
    id: rootIdOf(certificate),
    subject: certificate.subject.replaceAll("\n", ", "),
    keyId: keyId.toString("hex"),
    key: keyName(certificate.publicKey),
    notBefore: certificate.validFromDate.toISOString(),
    notAfter: certificate.validToDate.toISOString(),
  };
}
