// One call of Certify, without the wire: prove the credential, read both requests, compare, limit, spend, sign (design 7). The order matters:
// nothing is spent before everything that the caller can get wrong has been checked, and nothing is signed before it is spent.
import type { X509Certificate } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { CertError } from "../core/errors.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import { parseCsr } from "../core/x509/csr.ts";
import { createOwnCsrReader, type ReadOwnCsr } from "../core/x509/own-csr.ts";
import { keyName } from "../core/x509/signature.ts";
import type { Authenticator, Credential } from "./authenticator.ts";
import type { IssueLimit } from "./issue-limit.ts";
import type { IssueQueue } from "./issue-queue.ts";
import type { RandomBytes } from "./profile.ts";
import { type SignedCertificate, signLeaf, signMessageCertificate, spkiOf } from "./profile.ts";
import type { Root } from "./root.ts";

/** What a caller asks. */
export interface IssueRequest {
  readonly credential: Credential;
  /** PKCS#10 DER. */
  readonly csr: Buffer;
  readonly messageCsr: Buffer;
  /** True once nobody waits for the answer. Default: somebody does. */
  readonly isGone?: () => boolean;
}

/** What was signed. */
export interface Issued {
  readonly identity: SpiffeId;
  readonly leaf: SignedCertificate;
  readonly messageCertificate: SignedCertificate;
  /** Between either of them and the root; empty when the root itself signs. */
  readonly issuers: readonly X509Certificate[];
  /** Epoch ms, whole seconds: of both. */
  readonly notAfterMs: number;
  /** Subject key id of the issuer, hex: which key signed. */
  readonly issuerKeyId: string;
}

/** Signs for one request; throws `CertError` with the code that says whose fault it is. */
export type Issue = (request: IssueRequest) => Promise<Issued>;

/** Parts of {@link createIssuance}. */
export interface IssuanceParts {
  readonly authenticate: Authenticator;
  readonly limit: IssueLimit;
  readonly queue: IssueQueue;
  readonly clock: Clock;
  readonly random: RandomBytes;
  readonly leafTtlMs: number;
  root(): Root;
}

export function createIssuance(parts: IssuanceParts): Issue {
  const readOwnCsr = createOwnCsrReader();

  async function issue(request: IssueRequest): Promise<Issued> {
    const proof = await parts.authenticate(request.credential);
    const key = readRequest(request.csr, "csr", proof.identity, readOwnCsr);
    const messageKey = readRequest(request.messageCsr, "message_csr", proof.identity, readOwnCsr);
    // One key for both would let a TLS handshake be used to sign messages.
    if (key.equals(messageKey)) throw new CertError("malformed", "csr and message_csr have the same key; two are needed");
    const waitMs = parts.limit.take(proof.identity);
    if (waitMs > 0) {
      const seconds = Math.ceil(waitMs / 1000);
      throw new CertError("rate_limited", `${proof.identity} asks for certificates too often; next in ${seconds} s`, {
        fields: { waitMs },
      });
    }
    await proof.spend();
    return sign(parts, proof.identity, key, messageKey);
  }

  return (request) => {
    const urgency = request.credential.kind === "client_certificate" ? "renewal" : "first";
    return parts.queue.run(urgency, request.isGone ?? (() => false), () => issue(request));
  };
}

/** Signs for an identity that needs no credential: the control plane's own. */
export function sign(
  parts: Pick<IssuanceParts, "clock" | "random" | "leafTtlMs" | "root">,
  identity: SpiffeId,
  spki: Buffer,
  messageSpki: Buffer,
): Issued {
  const root = parts.root();
  const nowMs = parts.clock.nowMs();
  // A leaf that outlives what signed it would be refused by every verifier while it still looks valid.
  const notAfterMs = Math.min(nowMs + parts.leafTtlMs, root.notAfterMs);
  if (notAfterMs <= nowMs) throw new CertError("unavailable", `the CA expired at ${new Date(root.notAfterMs).toISOString()}`);
  const signing = { issuer: root.issuer, nowMs, notAfterMs, random: parts.random };
  return {
    identity,
    leaf: signLeaf({ identity, spki }, signing),
    messageCertificate: signMessageCertificate({ identity, spki: messageSpki }, signing),
    issuers: root.issuers,
    notAfterMs: Math.floor(notAfterMs / 1000) * 1000,
    issuerKeyId: root.issuer.keyId.toString("hex"),
  };
}

/** The request's key, SubjectPublicKeyInfo. */
function readRequest(der: Buffer, field: string, identity: SpiffeId, readOwnCsr: ReadOwnCsr): Buffer {
  const own = readOwnCsr(der, identity);
  if (own !== null) return own;
  const csr = explain(field, () => parseCsr(der));
  if (csr.identity !== identity) {
    throw new CertError("identity_mismatch", `${field} is for ${csr.identity}, the credential is of ${identity}`, {
      fields: { asked: csr.identity, identity },
    });
  }
  if (keyName(csr.publicKey) !== "P-256")
    throw new CertError("weak_key", `${field}: a key of type ${keyName(csr.publicKey)}; this CA certifies P-256 only`);
  return spkiOf(csr.publicKey);
}

/** Names the field in the error of its reader. */
function explain<Value>(field: string, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof CertError)) throw error;
    throw new CertError(error.code, `${field}: ${error.message}`, { cause: error, fields: error.fields });
  }
}
