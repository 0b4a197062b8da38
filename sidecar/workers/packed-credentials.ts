// Credentials on their way to a worker: keys and certificates as text and bytes, because key objects cannot cross processes. They travel over the
// IPC channel, a socket pair that only the two processes hold, and never touch a disk or an environment.
import { createPrivateKey, type KeyObject } from "node:crypto";
import { parseCertificate } from "../../core/x509/certificate.ts";
import { fromPemBundle } from "../../core/x509/pem.ts";
import { parseRoots } from "../identity/generation.ts";
import type { Credentials } from "../identity/identity-source.ts";

/** {@link Credentials} that can be sent. */
export interface PackedCredentials {
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  readonly rootsPem: string;
  readonly expiresAtMs: number;
  /** PKCS#8 PEM. */
  readonly messageKeyPem: string;
  readonly messageCertificate: Uint8Array;
  readonly messageKeyId: string;
  readonly previous: { readonly messageKeyPem: string; readonly messageKeyId: string; readonly expiresAtMs: number } | null;
}

/** Makes them ready to be sent. */
export function packCredentials(credentials: Credentials): PackedCredentials {
  const { certificateChainPem, privateKeyPem, rootsPem, expiresAtMs, messageKey, messageCertificate, messageKeyId, previous } = credentials;
  return {
    certificateChainPem,
    privateKeyPem,
    rootsPem,
    expiresAtMs,
    messageKeyPem: pemOf(messageKey),
    messageCertificate,
    messageKeyId,
    previous:
      previous === null
        ? null
        : { messageKeyPem: pemOf(previous.messageKey), messageKeyId: previous.messageKeyId, expiresAtMs: previous.expiresAtMs },
  };
}

/** The opposite of {@link packCredentials}. The sender has checked them against the roots. @throws CertError when they are damaged */
export function unpackCredentials(packed: PackedCredentials): Credentials {
  const { certificateChainPem, privateKeyPem, rootsPem, expiresAtMs, messageKeyPem, messageCertificate, messageKeyId, previous } = packed;
  return {
    certificateChainPem,
    privateKeyPem,
    leaf: parseCertificate(fromPemBundle(certificateChainPem)[0] ?? Buffer.alloc(0)),
    expiresAtMs,
    rootsPem,
    roots: parseRoots(rootsPem),
    messageKey: createPrivateKey(messageKeyPem),
    messageCertificate: Buffer.from(messageCertificate),
    messageKeyId,
    previous:
      previous === null
        ? null
        : {
            messageKey: createPrivateKey(previous.messageKeyPem),
            messageKeyId: previous.messageKeyId,
            expiresAtMs: previous.expiresAtMs,
          },
  };
}

function pemOf(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }) as string; // PEM export gives a string; the types allow both
}
