// Checked message certificates of peers (design 9), so that each is verified once and not once per request. They come from two places: announced in the
// registry (`ofDer`, for the signer) and in a request's `x-remora-cert` (`ofText`, for the verifier). Owns two bounded caches; the rules are
// core/x509/peer-check.ts. What was checked against other roots than the present ones is checked again: a removed root stops counting at once, and peers need
// not send their certificate again because one was added.
import type { X509Certificate } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Clock } from "../../core/clock.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import { checkMessageCertificate, type MessageCertificate } from "../../core/x509/peer-check.ts";

/** Whom to trust. `roots` must give the same array until the roots change. */
export interface MessageTrust {
  readonly trustDomain: string;
  roots(): readonly X509Certificate[];
}

/** Looks certificates up, checking those it does not know. */
export interface MessageCertificates {
  /** The roots that count now; another array when they changed. */
  roots(): readonly X509Certificate[];
  /** The certificate in a header's base64url, or null when it is not one of `identity`'s. */
  ofText(text: string, identity: SpiffeId): MessageCertificate | null;
  /** The certificate in DER, or null when it is not one of `identity`'s. Keep the Buffer: the answer is remembered with it. */
  ofDer(der: Buffer, identity: SpiffeId): MessageCertificate | null;
  /** One seen before in a header, by its key id; or null. */
  byKeyId(keyId: string, identity: SpiffeId): MessageCertificate | null;
}

/** Longest header value looked at: our certificates have some 800 characters. */
const MAX_TEXT_LENGTH = 4_096;
const DEFAULT_MAX_CERTIFICATES = 4_096;

/** Makes empty caches of at most `maxCertificates` (default 4 096) each. */
export function createMessageCertificates(options: {
  readonly trust: MessageTrust;
  readonly clock: Clock;
  readonly maxCertificates?: number;
}): MessageCertificates {
  const { trust, clock } = options;
  const max = options.maxCertificates ?? DEFAULT_MAX_CERTIFICATES;
  const byText = new LRUCache<string, Checked>({ max });
  const byId = new LRUCache<string, string>({ max });
  const byDer = new WeakMap<Buffer, Checked>();

  function check(der: Buffer): Checked {
    const roots = trust.roots();
    try {
      return { roots, certificate: checkMessageCertificate(der, { trustDomain: trust.trustDomain, roots, nowMs: clock.nowMs() }) };
    } catch {
      return { roots, certificate: null }; // fails closed: whatever is wrong with it, there is no key
    }
  }

  /** Only of that identity, and only until it ends. */
  function usable({ certificate }: Checked, identity: SpiffeId): MessageCertificate | null {
    return certificate !== null && certificate.identity === identity && clock.nowMs() < certificate.expiresAtMs ? certificate : null;
  }

  function ofText(text: string, identity: SpiffeId): MessageCertificate | null {
    const known = byText.get(text);
    if (known !== undefined && known.roots === trust.roots()) return usable(known, identity);
    if (text.length > MAX_TEXT_LENGTH) return null;
    const checked = check(Buffer.from(text, "base64url"));
    const certificate = usable(checked, identity);
    // Bad ones are not kept: they would push out good ones.
    if (certificate === null) byText.delete(text);
    else {
      byText.set(text, checked);
      byId.set(certificate.keyId, text);
    }
    return certificate;
  }

  return {
    roots: trust.roots,
    ofText,
    ofDer(der, identity) {
      let checked = byDer.get(der);
      if (checked === undefined || checked.roots !== trust.roots()) {
        checked = check(der);
        byDer.set(der, checked);
      }
      return usable(checked, identity);
    },
    byKeyId(keyId, identity) {
      const text = byId.get(keyId);
      return text === undefined ? null : ofText(text, identity);
    },
  };
}

/** The outcome of a check against `roots`; null: refused. */
interface Checked {
  readonly roots: readonly X509Certificate[];
  readonly certificate: MessageCertificate | null;
}
