// The inbound side's view of signing (design 9): asks the verifier about an exchange and says in one word what follows. Owns the rule which requests
// must be signed at all; the profile is the verifier's.
import type { SpiffeId } from "../../core/spiffe.ts";
import { FIELD } from "../../core/field-kind.ts";
import { type Exchange, type Refusal, refuse } from "../exchange.ts";
import { type FieldView, firstNamed } from "../fields.ts";
import { createVerifierState, digestMatches, type SignatureReason, type Verifier } from "./verifier.ts";

/** What the signature of a request's head says. */
export type Verdict =
  | { readonly kind: "accepted" /** `content-digest` that the body must have; null: none. */; readonly expectedDigest: string | null }
  | { readonly kind: "refused"; readonly reason: SignatureReason; readonly detail: string };

/** Signatures of one mesh connection. */
export interface ConnectionSignatures {
  /** `mustBeSigned`: gRPC, or a port declared to be gRPC. Any other request is only checked when it carries a signature. */
  verify(exchange: Exchange, mustBeSigned: boolean): Verdict;
}

/** Signatures of inbound requests. */
export interface InboundSignatures {
  connection(peer: SpiffeId, channelBinding: Buffer): ConnectionSignatures;
  /** Compares a held body with the digest its signature covers; null when it matches or none is expected. */
  checkBody(expected: string | null, body: Buffer): Refusal | null;
}

const UNSIGNED: Verdict = { kind: "accepted", expectedDigest: null };

/** Makes the inbound side's view of `verifier`. */
export function createInboundSignatures(verifier: Verifier): InboundSignatures {
  return {
    connection(peer, channelBinding) {
      const connection = createVerifierState();
      return {
        verify(exchange, mustBeSigned) {
          if (!mustBeSigned && !isSigned(exchange.head.fields)) return UNSIGNED;
          const result = verifier.verifyHead({
            method: exchange.method,
            authority: exchange.authority,
            path: exchange.path,
            fields: exchange.head.fields,
            peer,
            channelBinding,
            connection,
          });
          if (!result.ok) return { kind: "refused", reason: result.reason, detail: result.detail };
          return result.body === "digest" ? { kind: "accepted", expectedDigest: result.expected } : UNSIGNED;
        },
      };
    },
    checkBody(expected, body) {
      if (expected === null || digestMatches(expected, body)) return null;
      return refuse("signature_invalid", "the body does not have the signed digest");
    },
  };
}

function isSigned(fields: FieldView): boolean {
  return (fields.kinds & FIELD.signature) !== 0 && firstNamed(fields, "signature-input") !== null;
}
