// Two workloads that share an authority, with signers and verifiers on both ends and a connection between them: what the signing tests play with.
import { randomBytes } from "node:crypto";
import type { SpiffeId } from "../../../core/spiffe.ts";
import { FlatFields } from "../../../sidecar/fields.ts";
import { createMessageCertificates } from "../../../sidecar/signing/message-certificates.ts";
import { createNonceCache } from "../../../sidecar/signing/nonce-cache.ts";
import type { SigningMode } from "../../../sidecar/signing/profile.ts";
import { createSigner, type SignRequest } from "../../../sidecar/signing/signer.ts";
import { createVerifier, createVerifierState, type VerifierState, type VerifyResult } from "../../../sidecar/signing/verifier.ts";
import { createFakeClock } from "../../support/fake-clock.ts";
import { createStaticIdentity, createThrowawayCa, type ThrowawayCa } from "../../support/throwaway-ca.ts";

/** A request as it goes over the wire. */
export interface Wire {
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  readonly headers: readonly string[];
}

/** One connection from the caller to the callee. */
export interface Connection {
  readonly channelBinding: Buffer;
  readonly state: VerifierState;
}

export const CALL = {
  method: "POST",
  authority: "payments.shop:8080",
  path: "/shop.Payments/Charge",
  contentType: "application/grpc",
} as const;

/** Makes caller and callee. The authority may be given, to make strangers that share it. */
export function createSigningPair(
  options: { readonly mode?: SigningMode; readonly required?: SigningMode; readonly ca?: ThrowawayCa; readonly maxNonces?: number } = {},
) {
  const clock = createFakeClock(Date.now());
  const ca = options.ca ?? createThrowawayCa();
  const caller = createStaticIdentity(ca, "shop/web");
  const callee = createStaticIdentity(ca, "shop/payments");
  let roots = callee.current().roots;
  const trust = { trustDomain: ca.trustDomain, roots: () => roots };
  const certificates = createMessageCertificates({ trust, clock });
  const signer = createSigner({
    identity: caller.identity,
    credentials: () => caller.current(),
    mode: options.mode ?? "hmac",
    clock,
    randomBytes,
  });
  const verifier = createVerifier({
    identity: callee.identity,
    credentials: () => callee.current(),
    required: options.required ?? "hmac",
    clock,
    certificates,
    nonces: createNonceCache({ clock, seed: [1, 2], ...(options.maxNonces === undefined ? {} : { maxPerGeneration: options.maxNonces }) }),
  });

  return {
    ca,
    clock,
    caller,
    callee,
    certificates,
    signer,
    verifier,
    /** Replaces the roots that the callee trusts. */
    trustRoots(next: typeof roots) {
      roots = next;
    },
    connect(): Connection {
      return { channelBinding: randomBytes(32), state: createVerifierState() };
    },
    /** A signed request of the caller. */
    request(connection: Connection, change: Partial<SignRequest> = {}): Wire {
      const call: SignRequest = {
        ...CALL,
        dst: callee.identity,
        dstMessageCertificateKey: certificates.ofDer(callee.current().messageCertificate, callee.identity),
        channelBinding: connection.channelBinding,
        body: Buffer.from("hello"),
        includeCertificate: true,
        ...change,
      };
      const fields = signer.sign(call);
      return {
        method: call.method,
        authority: call.authority,
        path: call.path,
        headers: ["content-type", call.contentType, "te", "trailers", ...fields, "grpc-timeout", "1S"],
      };
    },
    /** The callee's opinion. */
    verify(connection: Connection, wire: Wire, peer: SpiffeId = caller.identity): VerifyResult {
      return verifier.verifyHead({
        method: wire.method,
        authority: wire.authority,
        path: wire.path,
        fields: new FlatFields(wire.headers),
        peer,
        channelBinding: connection.channelBinding,
        connection: connection.state,
      });
    },
  };
}

/** The value of a field. */
export function fieldOf(wire: Wire, name: string): string {
  const at = wire.headers.indexOf(name);
  if (at < 0) throw new Error(`no field ${name}`);
  return wire.headers[at + 1] as string;
}

/** The request with a field's value replaced; null removes the field. */
export function withField(wire: Wire, name: string, value: string | null): Wire {
  const at = wire.headers.indexOf(name);
  const headers = [...wire.headers];
  if (at < 0) headers.push(name, value ?? "");
  else headers.splice(at, 2, ...(value === null ? [] : [name, value]));
  return { ...wire, headers };
}

/** `accepted stream`, `accepted digest`, or the reason. */
export function verdict(result: VerifyResult): string {
  return result.ok ? `accepted ${result.body}` : result.reason;
}
