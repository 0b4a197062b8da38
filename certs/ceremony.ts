// The ceremony in which a mesh's keys are made away from it (`remora ca init`): a root whose key can stay in a safe, and an issuer below it that the control
// plane signs with. Everything is made in memory; where it goes is the command's affair.
import type { KeyObject } from "node:crypto";
import { X509Certificate } from "node:crypto";
import type { Issuer } from "../core/x509/certificate.ts";
import { createCertificate, issuerOf, randomSerial, selfIssuer } from "../core/x509/certificate.ts";
import { toPem } from "../core/x509/pem.ts";
import { BACKDATE_MS, makeKey, type RandomBytes } from "./profile.ts";
import type { RootMaterial } from "./root.ts";

/** A pair that was made. */
export interface MadePair extends RootMaterial {
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
}

/** For whom and how long. */
export interface CeremonyOptions {
  readonly trustDomain: string;
  readonly nowMs: number;
  readonly ttlMs: number;
  readonly random: RandomBytes;
}

/** A root: below it one issuer may stand, and below that leaves alone. */
export function makeOfflineRoot(options: CeremonyOptions): MadePair {
  const key = makeKey();
  const commonName = nameFor("root", options);
  return make({ key, issuer: selfIssuer(key, commonName), commonName, notAfterMs: options.nowMs + options.ttlMs }, options);
}

/** An issuer below `root`: it signs leaves, and no further CA. It ends no later than its root. */
export function makeIssuer(root: { readonly certificate: X509Certificate; readonly key: KeyObject }, options: CeremonyOptions): MadePair {
  const notAfterMs = Math.min(options.nowMs + options.ttlMs, root.certificate.validToDate.getTime());
  const commonName = nameFor("issuer", options);
  return make({ key: makeKey(), issuer: issuerOf(root.certificate, root.key), commonName, notAfterMs, pathLength: 0 }, options);
}

interface Making {
  readonly key: KeyObject;
  readonly issuer: Issuer;
  readonly commonName: string;
  readonly notAfterMs: number;
  readonly pathLength?: number;
}

function make({ key, ...making }: Making, { nowMs, random }: CeremonyOptions): MadePair {
  const der = createCertificate({
    ...making,
    publicKey: key,
    serial: randomSerial(random),
    notBeforeMs: nowMs - BACKDATE_MS,
    names: {},
    isCa: true,
    keyUsage: ["keyCertSign", "cRLSign"],
    extendedKeyUsage: [],
  });
  return {
    certificate: new X509Certificate(der),
    certificatePem: toPem(der, "CERTIFICATE"),
    key,
    keyPem: key.export({ type: "pkcs8", format: "pem" }) as string, // PEM export gives a string; the types allow both
  };
}

/** With the day, so that people can tell roots apart. At most 64 characters (ub-common-name of RFC 5280). */
function nameFor(what: "root" | "issuer", { trustDomain, nowMs }: CeremonyOptions): string {
  const day = new Date(nowMs).toISOString().slice(0, 10);
  return `Remora ${what} ${day} of ${trustDomain}`.slice(0, 64);
}
