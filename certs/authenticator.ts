// Who is asking? Turns one credential into one identity, and nothing else: whether the request fits the identity is the authority's question.
// Three kinds (design 7): a service-account token, a one-time join token, or the connection's own client certificate (renewal).
import type { X509Certificate } from "node:crypto";
import { CertError } from "../core/errors.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import { findRoot } from "../core/x509/chain.ts";
import type { JudgedAt } from "../core/x509/judged-at.ts";
import { checkPeerCertificate } from "../core/x509/peer-check.ts";
import type { JoinTokens } from "./join-tokens.ts";

/** What a caller shows. `heartbeat` is a join token made for announcing over REST; it certifies nobody. */
export type Credential =
  | { readonly kind: "service_account_token"; readonly token: string }
  | { readonly kind: "join_token"; readonly token: string }
  | { readonly kind: "heartbeat_token"; readonly token: string }
  | {
      readonly kind: "client_certificate";
      readonly certificate: X509Certificate;
      /** What the client sent with it. */
      readonly issuers: readonly X509Certificate[];
    };

/** A proven caller. */
export interface Proof {
  readonly identity: SpiffeId;
  /** Spends a one-time credential; throws `CertError("credential_refused")` for all but one caller. Does nothing for the other kinds. */
  spend(): Promise<void>;
}

/** Proves credentials; throws `CertError`: `credential_refused`, `unavailable`. */
export type Authenticator = (credential: Credential) => Promise<Proof>;

/** What an authenticator knows; a kind without its part is refused. */
export interface AuthenticatorParts {
  readonly trustDomain: string;
  readonly judgedAt: JudgedAt;
  /** Current roots: a client certificate of a root that was removed since its handshake is refused. */
  roots(): readonly X509Certificate[];
  /** Null outside of Kubernetes. */
  readonly serviceAccounts: ((token: string) => Promise<SpiffeId>) | null;
  /** Null when join tokens are switched off. */
  readonly joinTokens: JoinTokens | null;
}

const NOTHING_TO_SPEND = () => Promise.resolve();

export function createAuthenticator(parts: AuthenticatorParts): Authenticator {
  const { joinTokens, serviceAccounts } = parts;
  return async (credential) => {
    switch (credential.kind) {
      case "service_account_token": {
        if (serviceAccounts === null)
          throw refused("service account tokens are not accepted here: the control plane does not run in Kubernetes");
        return { identity: await serviceAccounts(credential.token), spend: NOTHING_TO_SPEND };
      }
      case "join_token": {
        if (joinTokens === null) throw refused("join tokens are not accepted here");
        const proven = await joinTokens.prove(credential.token, "join");
        return { identity: proven.identity, spend: () => joinTokens.consume(proven) };
      }
      case "heartbeat_token": {
        if (joinTokens === null) throw refused("heartbeat tokens are not accepted here");
        return { identity: (await joinTokens.prove(credential.token, "heartbeat")).identity, spend: NOTHING_TO_SPEND };
      }
      case "client_certificate":
        return { identity: checkClientCertificate(credential, parts), spend: NOTHING_TO_SPEND };
    }
  };
}

function checkClientCertificate(
  { certificate, issuers }: Extract<Credential, { readonly kind: "client_certificate" }>,
  { judgedAt, roots, trustDomain }: AuthenticatorParts,
): SpiffeId {
  const nowMs = judgedAt(certificate);
  if (findRoot(certificate, { issuers, roots: roots(), trustDomain, nowMs }) === null)
    throw refused("the client certificate is signed by no root of the mesh");
  try {
    return checkPeerCertificate(certificate, { trustDomain, usage: "client", nowMs });
  } catch (cause) {
    throw new CertError("credential_refused", `the client certificate is refused: ${(cause as Error).message}`, { cause });
  }
}

function refused(why: string): CertError {
  return new CertError("credential_refused", why);
}
