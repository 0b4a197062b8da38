// `remora.v1.Identity` on the wire (core/wire/identity.proto): messages to calls of issuance, errors to gRPC statuses, and what the audit trail
// hears: each certificate and each refusal; the counter has the same outcomes.
import type { X509Certificate } from "node:crypto";
import type { ServerUnaryCall, ServerWritableStream } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { Audit } from "../core/audit/audit.ts";
import type { CertErrorCode } from "../core/errors.ts";
import { CertError } from "../core/errors.ts";
import { peerCertificate, sentIssuers } from "../core/peer-certificate.ts";
import type { Logger } from "../core/log.ts";
import type { CertifyRequest, CertifyResponse, IdentityHandlers, TrustBundle, WatchTrustRequest } from "../core/wire/identity.ts";
import type { CallStatus } from "../core/wire/server-call.ts";
import type { Authenticator, Credential } from "./authenticator.ts";
import type { Issue, Issued } from "./issuance.ts";
import type { TrustState } from "./trust-bundle.ts";

/** Requests for certificates are some hundred bytes; the two together may have this many. */
const MAX_CSR_BYTES = 16 * 1024;

/** Counts one outcome: "issued" or the code of the refusal. */
export type CountOutcome = (result: "issued" | CertErrorCode) => void;

/** Parts of {@link createIdentityService}. */
export interface IdentityServiceParts {
  readonly trustDomain: string;
  readonly issue: Issue;
  readonly authenticate: Authenticator;
  readonly trust: TrustState;
  /** What a peer that has not heard of the newest root needs besides a leaf's issuers; empty when all have. */
  bridges(): readonly X509Certificate[];
  /** Leaves of another root than the one that signs are renewed within this time. */
  readonly renewWithinMs: number;
  readonly log: Logger;
  readonly audit: Audit;
  readonly count: CountOutcome;
}

export function createIdentityService(parts: IdentityServiceParts): { readonly implementation: IdentityHandlers; close(): void } {
  const streams = new Set<ServerWritableStream<WatchTrustRequest, TrustBundle>>();

  const stop = parts.trust.onChange(() => {
    for (const stream of streams) stream.write(bundleMessage(parts));
  });

  async function certify(call: ServerUnaryCall<CertifyRequest, CertifyResponse>): Promise<CertifyResponse> {
    let kind: Credential["kind"] | "none" = "none";
    try {
      const credential = credentialOf(call);
      kind = credential.kind;
      const { csr, messageCsr } = requestsOf(call.request);
      const issued = await parts.issue({ credential, csr, messageCsr, isGone: () => call.cancelled });
      parts.count("issued");
      auditIssued(parts.audit, issued, kind, call.getPeer());
      return answer(issued, parts);
    } catch (error) {
      const code = error instanceof CertError ? error.code : "unavailable";
      parts.count(code);
      if (!(error instanceof CertError)) parts.log.error({ err: error }, "a request for a certificate failed");
      const fields = error instanceof CertError ? error.fields : {};
      const detail = String((error as Error).message);
      parts.audit.record("certificate.refused", { ...fields, reason: code, detail, credential: kind, peer: call.getPeer() });
      throw error;
    }
  }

  async function watchTrust(call: ServerWritableStream<WatchTrustRequest, TrustBundle>): Promise<void> {
    const certificate = peerCertificate(call);
    if (certificate === null) throw new CertError("credential_refused", "WatchTrust needs a client certificate of the mesh");
    await parts.authenticate({ kind: "client_certificate", certificate, issuers: sentIssuers(call) });
    if (call.cancelled) return;
    streams.add(call);
    const forget = () => streams.delete(call);
    call.on("cancelled", forget).on("close", forget).on("error", forget);
    call.write(bundleMessage(parts));
  }

  return {
    implementation: {
      certify: (call, done) => {
        certify(call).then(
          (response) => done(null, response),
          (error: unknown) => done(statusOf(error)),
        );
      },
      watchTrust: (call) => {
        // grpc-js turns an "error" event into the status that ends the stream; `destroy` would end it without any.
        watchTrust(call).catch((error: unknown) => call.emit("error", Object.assign(new Error(), statusOf(error))));
      },
    },
    close() {
      stop();
      for (const stream of streams) stream.end();
      streams.clear();
    },
  };
}

/** Exactly one; none set means the connection's certificate. */
function credentialOf(call: Parameters<IdentityHandlers["certify"]>[0]): Credential {
  const certificate = peerCertificate(call);
  const { serviceAccountToken, joinToken } = call.request;
  if (serviceAccountToken !== undefined && serviceAccountToken !== "") return { kind: "service_account_token", token: serviceAccountToken };
  if (joinToken !== undefined && joinToken !== "") return { kind: "join_token", token: joinToken };
  if (certificate !== null) return { kind: "client_certificate", certificate, issuers: sentIssuers(call) };
  throw new CertError(
    "credential_refused",
    "no credential: send a service account token or a join token, or renew over the connection of a valid certificate",
  );
}

function requestsOf(request: CertifyRequest): { readonly csr: Buffer; readonly messageCsr: Buffer } {
  const { csr, messageCsr } = request;
  const bytes = csr.length + messageCsr.length;
  if (bytes > MAX_CSR_BYTES) throw new CertError("malformed", `csr and message_csr have ${bytes} bytes, at most ${MAX_CSR_BYTES} are read`);
  return { csr: Buffer.from(csr), messageCsr: Buffer.from(messageCsr) };
}

function answer(issued: Issued, parts: IdentityServiceParts): CertifyResponse {
  return {
    certificateChain: [issued.leaf, ...issued.issuers, ...parts.bridges()].map(({ raw }) => raw),
    messageCertificate: Buffer.concat([issued.messageCertificate, ...issued.issuers].map(({ raw }) => raw)),
    notAfterMs: issued.notAfterMs,
    trust: bundleMessage(parts),
  };
}

function bundleMessage({ trust, trustDomain, renewWithinMs }: IdentityServiceParts): TrustBundle {
  const { version, roots, issuingRoot } = trust.current();
  return { trustDomain, version, roots: [...roots], issuingRoot: Buffer.from(issuingRoot, "hex"), renewWithinMs };
}

function auditIssued(audit: Audit, issued: Issued, credential: Credential["kind"], peer: string): void {
  const { identity, issuerKeyId } = issued;
  for (const [use, certificate] of [
    ["tls", issued.leaf],
    ["message", issued.messageCertificate],
  ] as const) {
    const notAfter = new Date(issued.notAfterMs).toISOString();
    audit.record("certificate.issued", { serial: certificate.serial, identity, notAfter, use, credential, issuerKeyId, peer });
  }
}

/** Whose fault it is decides whether a client should try again (gRPC status codes; retried: UNAVAILABLE, RESOURCE_EXHAUSTED). */
const STATUS_BY_CODE = {
  malformed: status.INVALID_ARGUMENT,
  not_one_uri_san: status.INVALID_ARGUMENT,
  ca_as_leaf: status.INVALID_ARGUMENT,
  weak_key: status.INVALID_ARGUMENT,
  wrong_usage: status.INVALID_ARGUMENT,
  wrong_trust_domain: status.PERMISSION_DENIED,
  identity_mismatch: status.PERMISSION_DENIED,
  untrusted: status.UNAUTHENTICATED,
  expired: status.UNAUTHENTICATED,
  credential_refused: status.UNAUTHENTICATED,
  rate_limited: status.RESOURCE_EXHAUSTED,
  unavailable: status.UNAVAILABLE,
  conflict: status.ABORTED,
} as const satisfies Record<CertErrorCode, status>;

function statusOf(error: unknown): CallStatus {
  // What is not ours may name files and addresses; it is in the log, the peer learns no more.
  if (!(error instanceof CertError)) return { code: status.INTERNAL, details: "internal error" };
  const { waitMs } = error.fields;
  const retryAfter = typeof waitMs === "number" ? { retryAfterMs: waitMs } : {};
  return { code: STATUS_BY_CODE[error.code], details: `${error.code}: ${error.message}`, ...retryAfter };
}
