// The steps of a root's rotation (design 7), as changes of what is kept: add the next root, let it sign, remove the old one; and the two ways back. Whether the
// mesh survives a step is rotation-guard.ts; here a step only has to follow from the one before.
import type { X509Certificate } from "node:crypto";
import { CertError } from "../core/errors.ts";
import { createCertificate, issuerOf, randomSerial, subjectOf } from "../core/x509/certificate.ts";
import { fromPemBundle, toPem } from "../core/x509/pem.ts";
import type { AuthorityData, RotationStep } from "./authority-data.ts";
import { MAX_BRIDGES, readAuthority } from "./authority-data.ts";
import type { RandomBytes } from "./profile.ts";
import { BACKDATE_MS } from "./profile.ts";
import type { Root, RootMaterial } from "./root.ts";
import { toPemChain } from "./root.ts";

/** What can be asked. `back` undoes `issue`, `cancel` undoes `add`. */
export const ROTATION_ACTIONS = ["add", "issue", "remove", "back", "cancel"] as const;
/** One of {@link ROTATION_ACTIONS}. */
export type RotationAction = (typeof ROTATION_ACTIONS)[number];

/** The step that an action starts from. */
export const ACTION_FROM: Readonly<Record<RotationAction, RotationStep>> = {
  add: "steady",
  issue: "added",
  remove: "issuing",
  back: "issuing",
  cancel: "added",
};

/** What every step is taken with. */
export interface StepContext {
  readonly place: string;
  readonly trustDomain: string;
  readonly nowMs: number;
}

/** What `add` brings in. */
export interface NextRoot extends RootMaterial {
  /** Its root; may be the certificate itself. */
  readonly rootPem: string;
  /** That root signed by the old one; null when the old one's key is not there to sign. */
  readonly crossPem: string | null;
}

/** The next root is trusted from here on. Throws `CertError` when a rotation is under way or the pair cannot sign. */
export function addRoot(data: AuthorityData, next: NextRoot, context: StepContext): AuthorityData {
  const { roots, bridges, retired } = startFrom("add", data, context);
  const added = {
    ...data,
    "ca.crt": `${toPemChain(roots)}${onePem(next.rootPem)}`,
    "next.crt": next.certificatePem,
    "next.key": next.keyPem,
    "cross.crt": `${next.crossPem ?? ""}${toPemChain([...bridges.slice(0, MAX_BRIDGES - (next.crossPem === null ? 0 : 1)), ...retired])}`,
    ...rotation("added", context),
  };
  const { signer, other } = readAuthority(added, context.place, context);
  if (other?.raw.equals(signer.anchor.raw) === true) throw new CertError("conflict", "the next root is the one that there is");
  return added;
}

/** The next root signs from here on. */
export function issueFromNext(data: AuthorityData, context: StepContext): AuthorityData {
  startFrom("issue", data, context);
  const { "next.crt": nextCertificate = "", "next.key": nextKey = "", ...rest } = data;
  return check(
    {
      ...rest,
      "tls.crt": nextCertificate,
      "tls.key": nextKey,
      "previous.crt": data["tls.crt"] ?? "",
      "previous.key": data["tls.key"] ?? "",
      ...rotation("issuing", context),
    },
    context,
  );
}

/** The old root is trusted no more, and its key forgotten. */
export function removeOld(data: AuthorityData, context: StepContext): AuthorityData {
  const { roots, other, bridges, retired } = startFrom("remove", data, context);
  const kept = [...bridges, ...(other === null ? [] : [other]), ...retired.slice(0, MAX_BRIDGES - 1)];
  const { "previous.crt": _certificate, "previous.key": _key, ...rest } = data;
  return check({ ...rest, "ca.crt": without(roots, other), "cross.crt": toPemChain(kept), ...rotation("steady", context) }, context);
}

/** The old root signs again; both are trusted. */
export function goBack(data: AuthorityData, context: StepContext): AuthorityData {
  startFrom("back", data, context);
  const { "previous.crt": oldCertificate = "", "previous.key": oldKey = "", ...rest } = data;
  return check(
    {
      ...rest,
      "tls.crt": oldCertificate,
      "tls.key": oldKey,
      "next.crt": data["tls.crt"] ?? "",
      "next.key": data["tls.key"] ?? "",
      ...rotation("added", context, true),
    },
    context,
  );
}

/** The next root is trusted no more, and its key forgotten. */
export function cancelAdded(data: AuthorityData, context: StepContext): AuthorityData {
  const { roots, other, bridges, retired } = startFrom("cancel", data, context);
  const { "next.crt": _certificate, "next.key": _key, ...rest } = data;
  const kept = bridges.filter((bridge) => other === null || !bridge.publicKey.equals(other.publicKey));
  return check(
    { ...rest, "ca.crt": without(roots, other), "cross.crt": toPemChain([...kept, ...retired]), ...rotation("steady", context) },
    context,
  );
}

/** `root` signed by `signer`, DER: under its own name and key, so that what it has issued chains to the root of `signer` too. Null when an issuer may not sign CAs. */
export function crossSign(
  root: X509Certificate,
  signer: Root,
  options: { readonly nowMs: number; readonly random: RandomBytes },
): Buffer | null {
  if (signer.issuers.length > 0) return null;
  return createCertificate({
    publicKey: root.publicKey,
    issuer: issuerOf(signer.certificate, signer.issuer.key),
    subject: subjectOf(root),
    serial: randomSerial(options.random),
    notBeforeMs: options.nowMs - BACKDATE_MS,
    notAfterMs: Math.min(root.validToDate.getTime(), signer.notAfterMs),
    commonName: "",
    names: {},
    isCa: true,
    keyUsage: ["keyCertSign", "cRLSign"],
    extendedKeyUsage: [],
  });
}

function startFrom(action: RotationAction, data: AuthorityData, context: StepContext) {
  const state = readAuthority(data, context.place, context);
  expectStep(action, state.step, context.place);
  return state;
}

/** Throws `CertError("conflict")` when `action` does not follow from `step`. */
export function expectStep(action: RotationAction, step: RotationStep, place: string): void {
  if (step === ACTION_FROM[action]) return;
  throw new CertError("conflict", `"${action}" follows from the step "${ACTION_FROM[action]}", the rotation in ${place} is at "${step}"`);
}

/** What is written must be what can be read. */
function check(data: AuthorityData, context: StepContext): AuthorityData {
  readAuthority(data, context.place, context);
  return data;
}

function rotation(step: RotationStep, { nowMs }: StepContext, hasGoneBack = false): { readonly "rotation.json": string } {
  return { "rotation.json": JSON.stringify({ step, sinceMs: nowMs, ...(hasGoneBack ? { hasGoneBack } : {}) }) };
}

function without(roots: readonly X509Certificate[], removed: X509Certificate | null): string {
  return toPemChain(roots.filter((root) => removed === null || !root.raw.equals(removed.raw)));
}

function onePem(pem: string): string {
  const [first] = fromPemBundle(pem);
  return first === undefined ? "" : toPem(first, "CERTIFICATE");
}
