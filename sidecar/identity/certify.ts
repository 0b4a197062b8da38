// One call of `Identity.Certify`: fresh keys, two requests, one credential, one answer. Keeps nothing; when to call and what to do with a
// failure is start-identity.ts's question.
import { generateKeyPairSync } from "node:crypto";
import type { ServiceError } from "@grpc/grpc-js";
import { Client, Metadata, status } from "@grpc/grpc-js";
import type { CertErrorCode } from "../../core/errors.ts";
import { CertError } from "../../core/errors.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import type { CertifyRequest, CertifyResponse } from "../../core/wire/identity.ts";
import { identityService } from "../../core/wire/load.ts";
import { createCsr } from "../../core/x509/csr.ts";
import { toPem } from "../../core/x509/pem.ts";
import type { Generation } from "./generation.ts";
import { rootsToPem } from "./generation.ts";
import type { ControlChannel } from "./identity-source.ts";

const CALL_TIMEOUT_MS = 10_000;
/** No answer makes a workload wait longer than this, ms. */
const MAX_PUSHBACK_MS = 60_000;

/** What proves the workload; `renewal` is the channel's own client certificate. */
export type CertifyCredential =
  | { readonly kind: "service_account_token"; readonly token: string }
  | { readonly kind: "join_token"; readonly token: string }
  | { readonly kind: "renewal" };

/** The answer, not yet checked. */
export interface Certified {
  readonly generation: Generation;
  readonly rootsPem: string;
}

/** Throws `CertError`: `unavailable` and `rate_limited` may pass, the others say what the control plane refuses. */
export async function certify(channel: ControlChannel, identity: SpiffeId, credential: CertifyCredential): Promise<Certified> {
  const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const messageKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const response = await call(channel, credential.kind, {
    csr: createCsr({ key, identity }),
    messageCsr: createCsr({ key: messageKey, identity }),
    ...(credential.kind === "service_account_token" ? { serviceAccountToken: credential.token } : {}),
    ...(credential.kind === "join_token" ? { joinToken: credential.token } : {}),
  });
  if (response.trust === null || response.trust.roots.length === 0 || response.certificateChain.length === 0) {
    throw new CertError("malformed", "the control plane answered without a certificate or without roots");
  }
  return {
    generation: {
      certificateChainPem: response.certificateChain.map((der) => toPem(Buffer.from(der), "CERTIFICATE")).join(""),
      privateKeyPem: key.export({ type: "pkcs8", format: "pem" }) as string, // PEM export gives a string; the types allow both
      messageCertificate: Buffer.from(response.messageCertificate),
      messageKey,
    },
    rootsPem: rootsToPem(response.trust.roots),
  };
}

function call(channel: ControlChannel, kind: CertifyCredential["kind"], request: CertifyRequest): Promise<CertifyResponse> {
  const client = new Client(channel.address, channel.credentials, channel.options);
  const method = identityService["Certify"];
  if (method === undefined) throw new Error("core/wire/identity.proto has no Certify");
  return new Promise<CertifyResponse>((resolve, reject) => {
    client.makeUnaryRequest<CertifyRequest, CertifyResponse>(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      new Metadata(),
      { deadline: Date.now() + CALL_TIMEOUT_MS },
      (error, response) => {
        if (error !== null) reject(toCertError(error, channel.address, kind));
        else if (response === undefined) reject(new CertError("malformed", "the control plane gave an empty answer"));
        else resolve(response);
      },
    );
  }).finally(() => client.close());
}

/** Statuses as certs/identity-service.ts gives them. */
function toCertError(error: ServiceError, address: string, credential: CertifyCredential["kind"]): CertError {
  const waitMs = pushbackMs(error);
  const fields = waitMs === null ? { credential } : { credential, waitMs };
  return new CertError(codeOf(error.code), `the control plane at ${address}: ${error.details}`, { cause: error, fields });
}

/** After how long the control plane wants to be asked again; null when it did not say. */
function pushbackMs({ metadata }: ServiceError): number | null {
  const [text] = metadata?.get("grpc-retry-pushback-ms") ?? [];
  const waitMs = typeof text === "string" && /^\d{1,9}$/.test(text) ? Number(text) : null;
  return waitMs === null ? null : Math.min(waitMs, MAX_PUSHBACK_MS);
}

function codeOf(code: status): CertErrorCode {
  switch (code) {
    case status.UNAUTHENTICATED:
      return "credential_refused";
    case status.PERMISSION_DENIED:
      return "identity_mismatch";
    case status.INVALID_ARGUMENT:
      return "malformed";
    case status.RESOURCE_EXHAUSTED:
      return "rate_limited";
    default:
      return "unavailable";
  }
}
