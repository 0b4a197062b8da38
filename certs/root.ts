// The root key and certificate: where they come from and whether they can be used. Whatever the source, a root is checked before the first
// certificate is signed with it, so that a wrong pair of files is a clear message at start and not a broken mesh later.
import type { KeyObject } from "node:crypto";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { CertError } from "../core/errors.ts";
import type { Issuer } from "../core/x509/certificate.ts";
import { issuerOf } from "../core/x509/certificate.ts";
import { readCertificateExtensions } from "../core/x509/extensions.ts";
import { isValidAt } from "../core/x509/peer-check.ts";
import { fromPemBundle, toPem } from "../core/x509/pem.ts";
import { isStrongKey, keyName } from "../core/x509/signature.ts";
import type { RandomBytes } from "./profile.ts";
import { makeKey, signRoot } from "./profile.ts";

/** A root as it is stored. */
export interface RootMaterial {
  readonly certificatePem: string;
  /** PKCS#8, PKCS#1 or SEC1. */
  readonly keyPem: string;
}

/** A root that can sign. */
export interface Root {
  readonly certificate: X509Certificate;
  readonly certificatePem: string;
  readonly issuer: Issuer;
}

/** Keeps one root for good. Several processes may race on `create`: exactly one wins, all get the winner's. */
export interface RootStore {
  /** For messages: the folder or Secret. */
  readonly place: string;
  /** Null when there is none yet. */
  load(): Promise<RootMaterial | null>;
  /** Stores `material` unless there is a root already; gives the one that is stored afterwards. */
  create(material: RootMaterial): Promise<RootMaterial>;
}

/** Loads the store's root, or makes one at the first start. Throws `CertError` naming the place when it cannot be used. */
export async function loadOrCreateRoot(
  store: RootStore,
  options: { readonly trustDomain: string; readonly nowMs: number; readonly random: RandomBytes },
): Promise<{ readonly root: Root; readonly created: boolean }> {
  const stored = await store.load();
  if (stored !== null) return { root: checkRoot(stored, store.place, options.nowMs), created: false };
  const fresh = makeRoot(options.trustDomain, options.nowMs, options.random);
  const kept = await store.create(fresh);
  return { root: checkRoot(kept, store.place, options.nowMs), created: kept.keyPem === fresh.keyPem };
}

/** A root given by files (REMORA_CA_CERT_FILE, REMORA_CA_KEY_FILE); never written. */
export async function readGivenRoot(files: {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly nowMs: number;
}): Promise<Root> {
  const place = `${files.certificateFile} and ${files.keyFile}`;
  const material = { certificatePem: await readGiven(files.certificateFile), keyPem: await readGiven(files.keyFile) };
  return checkRoot(material, place, files.nowMs);
}

/** Proves that the pair is a root that can sign; throws `CertError` saying which rule it breaks. */
export function checkRoot(material: RootMaterial, place: string, nowMs: number): Root {
  const refuse = (code: "malformed" | "expired" | "weak_key" | "untrusted", why: string, cause?: unknown) =>
    new CertError(code, `the CA in ${place} cannot be used: ${why}`, cause === undefined ? {} : { cause });
  const certificate = read(
    () => new X509Certificate(fromPemBundle(material.certificatePem)[0] ?? Buffer.alloc(0)),
    (cause) => refuse("malformed", "its certificate is not X.509 in PEM", cause),
  );
  const key: KeyObject = read(
    () => createPrivateKey(material.keyPem),
    (cause) => refuse("malformed", "its key is not a private key in PEM", cause),
  );
  if (!certificate.checkPrivateKey(key)) throw refuse("malformed", "the key does not belong to the certificate");
  if (!isStrongKey(key)) throw refuse("weak_key", `a key of type ${keyName(key)}; P-256, P-384 or RSA of at least 2048 bits is needed`);
  const { isCa, keyUsage } = readCertificateExtensions(certificate.raw);
  if (!isCa) throw refuse("untrusted", "the certificate is not a CA (basicConstraints CA:TRUE is missing)");
  if (keyUsage !== null && !keyUsage.has("keyCertSign")) throw refuse("untrusted", "the certificate's keyUsage has no keyCertSign");
  if (!certificate.ca) throw refuse("untrusted", "OpenSSL does not take the certificate for a CA");
  // TLS ends chains at self-signed certificates only, so an intermediate as the root would make every handshake fail.
  if (!certificate.checkIssued(certificate) || !certificate.verify(certificate.publicKey)) {
    throw refuse("untrusted", "the certificate is not self-signed; give the root itself");
  }
  if (!isValidAt(certificate, nowMs)) throw refuse("expired", `it is valid from ${certificate.validFrom} to ${certificate.validTo}`);
  return { certificate, certificatePem: toPem(certificate.raw, "CERTIFICATE"), issuer: issuerOf(certificate, key) };
}

function makeRoot(trustDomain: string, nowMs: number, random: RandomBytes): RootMaterial {
  const key = makeKey();
  const keyPem = key.export({ type: "pkcs8", format: "pem" }) as string; // PEM export gives a string; the types allow both
  return { certificatePem: toPem(signRoot(key, trustDomain, nowMs, random), "CERTIFICATE"), keyPem };
}

function read<Value>(attempt: () => Value, failed: (cause: unknown) => CertError): Value {
  try {
    return attempt();
  } catch (cause) {
    throw failed(cause);
  }
}

async function readGiven(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new CertError("unavailable", `cannot read the CA's file ${file}: ${(cause as Error).message}`, { cause });
  }
}
