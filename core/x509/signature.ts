// The signature algorithms of certificates and requests: AlgorithmIdentifiers (RFC 5758, RFC 4055) beside the node:crypto calls that
// make and check them. Keys decide: P-256 signs with SHA-256, P-384 with SHA-384, RSA with SHA-256 (PKCS#1 v1.5).
import type { KeyObject } from "node:crypto";
import { sign, verify } from "node:crypto";
import { CertError } from "../errors.ts";
import type { Der } from "./der.ts";
import { nullValue, oid, readOid, readSequence, sequence } from "./der.ts";

const MIN_RSA_BITS = 2048;

interface Algorithm {
  readonly id: string;
  readonly digest: "sha256" | "sha384";
  /** RSA identifiers carry an explicit NULL, ECDSA ones carry nothing. */
  readonly hasNull: boolean;
}

const ECDSA_SHA256: Algorithm = { id: "1.2.840.10045.4.3.2", digest: "sha256", hasNull: false };
const ECDSA_SHA384: Algorithm = { id: "1.2.840.10045.4.3.3", digest: "sha384", hasNull: false };
const RSA_SHA256: Algorithm = { id: "1.2.840.113549.1.1.11", digest: "sha256", hasNull: true };

/** What a key is, for messages and checks: "P-256", "P-384", "RSA-2048", "ed25519", … */
export function keyName(key: KeyObject): string {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case "ec":
      return namedCurve === "prime256v1" ? "P-256" : namedCurve === "secp384r1" ? "P-384" : String(namedCurve);
    case "rsa":
      return `RSA-${modulusLength ?? 0}`;
    default:
      return key.asymmetricKeyType ?? "unknown";
  }
}

/** EC P-256 or P-384, or RSA of at least 2048 bits (design 6). */
export function isStrongKey(key: KeyObject): boolean {
  const name = keyName(key);
  if (name === "P-256" || name === "P-384") return true;
  return key.asymmetricKeyType === "rsa" && (key.asymmetricKeyDetails?.modulusLength ?? 0) >= MIN_RSA_BITS;
}

/** The AlgorithmIdentifier of signatures by `key`; throws `CertError("weak_key")` when it is of no kind that we sign with. */
export function signatureAlgorithm(key: KeyObject): Der {
  const algorithm = algorithmOf(key);
  return algorithm.hasNull ? sequence(oid(algorithm.id), nullValue()) : sequence(oid(algorithm.id));
}

/** Signs in the form X.509 wants: ECDSA as a DER SEQUENCE of r and s. */
export function signDer(bytes: Buffer, key: KeyObject): Buffer {
  return sign(algorithmOf(key).digest, bytes, key);
}

/** True when `signature` over `bytes` is by `key` and `identifier` names the algorithm of such a key. Never throws for wrong signatures. */
export function verifyDer(bytes: Buffer, signature: Buffer, identifier: Der | undefined, key: KeyObject): boolean {
  const algorithm = algorithmOf(key);
  if (readOid(readSequence(identifier, "signature algorithm")[0], "signature algorithm") !== algorithm.id) return false;
  try {
    return verify(algorithm.digest, bytes, key, signature);
  } catch {
    return false;
  }
}

function algorithmOf(key: KeyObject): Algorithm {
  switch (keyName(key)) {
    case "P-256":
      return ECDSA_SHA256;
    case "P-384":
      return ECDSA_SHA384;
    default:
      if (isStrongKey(key)) return RSA_SHA256;
      throw new CertError("weak_key", `a key of type ${keyName(key)}; P-256, P-384 or RSA of at least ${MIN_RSA_BITS} bits is needed`);
  }
}
