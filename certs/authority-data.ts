// The CA as it is kept: texts by name, the same in a Secret, in a file of the state folder, and in the files that a person or cert-manager writes. Reading one
// checks everything in it; what it means for a running mesh is rotation.ts.
import { X509Certificate } from "node:crypto";
import { CertError } from "../core/errors.ts";
import { fromPemBundle } from "../core/x509/pem.ts";
import type { Root } from "./root.ts";
import { checkRoot, isSelfSigned, readRoots } from "./root.ts";

/** Names as in Secrets of type kubernetes.io/tls and of cert-manager; the others are ours. */
export const DATA_KEYS = [
  /** What signs, then the issuers between it and its root. */
  "tls.crt",
  "tls.key",
  /** The roots that the mesh trusts; without it `tls.crt` is the one. */
  "ca.crt",
  /** Step `added`: the pair that is to sign next. */
  "next.crt",
  "next.key",
  /** Step `issuing`: the pair that signed before. */
  "previous.crt",
  "previous.key",
  /** Newer roots signed by older ones, for who knows only the older; then those older ones that are trusted no more. */
  "cross.crt",
  /** The step of a rotation, JSON. */
  "rotation.json",
] as const;

/** One of {@link DATA_KEYS}. */
export type DataKey = (typeof DATA_KEYS)[number];
/** A CA as it is kept. */
export type AuthorityData = Readonly<Partial<Record<DataKey, string>>>;

/** `steady`: one root, nothing under way. `added`: the next root is trusted, the old one signs. `issuing`: the next root signs, the old one is still trusted. */
export const ROTATION_STEPS = ["steady", "added", "issuing"] as const;
/** One of {@link ROTATION_STEPS}. */
export type RotationStep = (typeof ROTATION_STEPS)[number];

/** Bridges that are kept, one for each of the last rotations, and as many roots that were. */
export const MAX_BRIDGES = 2;

/** A CA that was read and checked. Immutable. */
export interface AuthorityState {
  /** Signs now. */
  readonly signer: Root;
  /** The mesh trusts these. */
  readonly roots: readonly X509Certificate[];
  /** Roots signed by those before them, newest first. */
  readonly bridges: readonly X509Certificate[];
  /** Roots that were trusted once, newest first. They prove nothing; a workload that has slept knows the mesh by them. */
  readonly retired: readonly X509Certificate[];
  readonly step: RotationStep;
  /** When the step was taken, epoch ms; 0 when there was none. */
  readonly sinceMs: number;
  /** Step `added`: the next root has signed already, and was taken back. */
  readonly hasGoneBack: boolean;
  /** The other root of a rotation: the next one in `added`, the old one in `issuing`; null in `steady`. */
  readonly other: X509Certificate | null;
}

/** Reads and checks everything; throws `CertError` that names `place` and what is wrong. */
export function readAuthority(
  data: AuthorityData,
  place: string,
  { trustDomain, nowMs }: { readonly trustDomain: string; readonly nowMs: number },
): AuthorityState {
  const roots = data["ca.crt"] === undefined || data["ca.crt"].trim() === "" ? null : readRoots(data["ca.crt"], place);
  const rules = { trustDomain, nowMs, roots };
  const signer = checkRoot({ certificatePem: data["tls.crt"] ?? "", keyPem: data["tls.key"] ?? "" }, place, rules);
  const { step, sinceMs, hasGoneBack } = readRotation(data["rotation.json"], place);
  const otherPair = step === "added" ? pair(data, "next") : step === "issuing" ? pair(data, "previous") : null;
  // The old pair only waits to be removed, so that its end is nobody's trouble; the next one is to sign.
  const other =
    otherPair === null ? null : step === "added" ? checkRoot(otherPair, `${place} (next)`, rules).anchor : anchorOf(otherPair, roots ?? []);
  if (step !== "steady" && other === null)
    throw new CertError("malformed", `the CA in ${place} cannot be used: the other pair of its rotation is missing`);
  return { signer, roots: roots ?? [signer.anchor], ...readBridges(data["cross.crt"]), step, sinceMs, hasGoneBack, other };
}

/**
 * What the control plane sends above its issuers. Bridges first: OpenSSL takes the first issuer that fits, and a self-signed one that it does not trust ends its
 * search (SELF_SIGNED_CERT_IN_CHAIN, seen with 3.5). Then the roots, for workloads that know the mesh by a pin alone, the one that signs first.
 */
export function rootsForPeers({ signer, roots, bridges, retired }: AuthorityState): readonly X509Certificate[] {
  return [...bridges, signer.anchor, ...[...roots, ...retired].filter((root) => !root.raw.equals(signer.anchor.raw)).slice(0, MAX_BRIDGES)];
}

/** A pair by its prefix. */
export function pair(data: AuthorityData, name: "tls" | "next" | "previous"): { readonly certificatePem: string; readonly keyPem: string } {
  return { certificatePem: data[`${name}.crt`] ?? "", keyPem: data[`${name}.key`] ?? "" };
}

function anchorOf({ certificatePem }: { readonly certificatePem: string }, roots: readonly X509Certificate[]): X509Certificate | null {
  const chain = certificatePem === "" ? [] : fromPemBundle(certificatePem).map((der) => new X509Certificate(der));
  return (
    roots.find((root) => chain.some((one) => one.raw.equals(root.raw) || (one.checkIssued(root) && one.verify(root.publicKey)))) ?? null
  );
}

function readBridges(pem: string | undefined): Pick<AuthorityState, "bridges" | "retired"> {
  const all = pem === undefined || pem.trim() === "" ? [] : fromPemBundle(pem).map((der) => new X509Certificate(der));
  return {
    bridges: all.filter((one) => !isSelfSigned(one)).slice(0, MAX_BRIDGES),
    retired: all.filter(isSelfSigned).slice(0, MAX_BRIDGES),
  };
}

function readRotation(text: string | undefined, place: string): Pick<AuthorityState, "step" | "sinceMs" | "hasGoneBack"> {
  if (text === undefined || text.trim() === "") return { step: "steady", sinceMs: 0, hasGoneBack: false };
  try {
    const { step, sinceMs, hasGoneBack } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    const known = ROTATION_STEPS.find((one) => one === step);
    if (known !== undefined && typeof sinceMs === "number" && Number.isFinite(sinceMs))
      return { step: known, sinceMs, hasGoneBack: hasGoneBack === true };
  } catch {
    // said below
  }
  throw new CertError("malformed", `the CA in ${place} cannot be used: its rotation.json is none`);
}
