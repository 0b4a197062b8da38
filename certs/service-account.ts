// Credentials of pods: a projected service-account token, proven by TokenReview with our own audience (design 7), so that a token made for
// anyone else, the API server included, is worthless here.
import { CertError } from "../core/errors.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import { spiffeId } from "../core/spiffe.ts";

/** The audience that the projected token volume asks for. */
export const TOKEN_AUDIENCE = "remora.io";
const USERNAME = /^system:serviceaccount:([^:]+):([^:]+)$/;
/** The API server refuses longer ones too. */
const MAX_TOKEN_BYTES = 16 * 1024;
/** Anybody can send a token; so many may cost the API server a review at the same time. */
const MAX_REVIEWS_IN_FLIGHT = 64;

/** What a review says. */
export interface TokenReview {
  readonly authenticated: boolean;
  readonly audiences: readonly string[];
  readonly username: string;
  /** Empty when there is none. */
  readonly error: string;
}

/** Asks for one review; throws `CertError("unavailable")` when nobody answers. */
export type TokenReviewer = (token: string, audience: string) => Promise<TokenReview>;

/**
 * Proves service-account tokens. The returned function throws `CertError`: `credential_refused`, `unavailable`.
 */
export function createServiceAccountCheck(review: TokenReviewer, trustDomain: string): (token: string) => Promise<SpiffeId> {
  let inFlight = 0;
  return async (token) => {
    if (token.length > MAX_TOKEN_BYTES) throw refused(`the token has ${token.length} bytes, at most ${MAX_TOKEN_BYTES} are read`);
    if (inFlight >= MAX_REVIEWS_IN_FLIGHT) throw new CertError("unavailable", `${MAX_REVIEWS_IN_FLIGHT} tokens are being reviewed already`);
    inFlight += 1;
    try {
      return identityOf(await review(token, TOKEN_AUDIENCE), trustDomain);
    } finally {
      inFlight -= 1;
    }
  };
}

function identityOf(answer: TokenReview, trustDomain: string): SpiffeId {
  if (!answer.authenticated) throw refused(`the API server does not accept the token${answer.error === "" ? "" : `: ${answer.error}`}`);
  // A server that does not know audiences answers without any (TokenReview documentation): then the token may be for anybody.
  if (!answer.audiences.includes(TOKEN_AUDIENCE)) throw refused(`the token is not for audience ${TOKEN_AUDIENCE}`);
  const [, namespace, serviceAccount] = USERNAME.exec(answer.username) ?? [];
  if (namespace === undefined || serviceAccount === undefined)
    throw refused(`the token is of ${answer.username || "nobody"}, not of a service account`);
  return spiffeId({ trustDomain, namespace, serviceAccount });
}

function refused(why: string): CertError {
  return new CertError("credential_refused", why);
}
