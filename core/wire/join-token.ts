// The text form of one-time join tokens: `rmr1.<id>.<secret>.<pin>`. The CA makes and consumes them, a sidecar reads the pin out of its own
// to recognise the mesh it joins. Only the form lives here.
import { CertError } from "../errors.ts";

const FORM = /^rmr1\.([A-Za-z0-9_-]{16})\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})$/;

/** Bytes behind {@link JoinToken.id}. */
export const JOIN_TOKEN_ID_BYTES = 12;
/** Bytes behind {@link JoinToken.secret}. */
export const JOIN_TOKEN_SECRET_BYTES = 32;

/** The parts of a token, all base64url. */
export interface JoinToken {
  /** Names the token in the CA's store and in logs; 16 characters, not secret. */
  readonly id: string;
  /** 43 characters. */
  readonly secret: string;
  /** SHA-256 of the root's DER, 43 characters. */
  readonly pin: string;
}

export function formatJoinToken(token: JoinToken): string {
  return `rmr1.${token.id}.${token.secret}.${token.pin}`;
}

/** Reads a token; throws `CertError("credential_refused")` without repeating the text, which may be half a secret. */
export function parseJoinToken(text: string): JoinToken {
  const [, id, secret, pin] = FORM.exec(text.trim()) ?? [];
  if (id === undefined || secret === undefined || pin === undefined) {
    throw new CertError("credential_refused", "not a join token (rmr1.ID.SECRET.PIN, as `remora token` prints it)");
  }
  return { id, secret, pin };
}
