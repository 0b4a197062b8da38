// From a leaf to a root of the mesh (RFC 5280 6.1), over the issuers that its holder sent. OpenSSL walks the chains of handshakes; this walk is for what it does
// not see (message certificates, certificates shown earlier, roots removed since) and is stricter: few issuers, strong keys, understood constraints only.
import type { KeyObject, X509Certificate } from "node:crypto";
import type { Extensions } from "./extensions.ts";
import { OID, readCertificateExtensions } from "./extensions.ts";
import { isStrongKey } from "./signature.ts";

/** CA certificates between a leaf and its root, at most. */
export const MAX_ISSUERS = 4;
/** Certificates that are looked at besides the leaf, at most; a peer that sends more proves nothing. */
export const MAX_SENT_ISSUERS = 8;
/** Signatures checked for one leaf, at most: issuers of one name can be tried in every order. */
const MAX_SIGNATURES = 32;

/** What a chain is for. */
export interface ChainQuestion {
  /** What the leaf's holder sent with it, in any order; a self-signed one is no proof and skipped. */
  readonly issuers: readonly X509Certificate[];
  readonly roots: readonly X509Certificate[];
  /** Epoch ms. */
  readonly nowMs: number;
  /** Of the leaf's name: issuers may be limited to others. */
  readonly trustDomain: string;
}

/** The root that `leaf` chains to, or null when none of `roots` is reached. Never throws for what a peer sent. */
export function findRoot(leaf: X509Certificate, question: ChainQuestion): X509Certificate | null {
  return findChain(leaf, question)?.at(-1) ?? null;
}

/** The issuers of `leaf` in order, its root last; null when none of `roots` is reached. */
export function findChain(leaf: X509Certificate, question: ChainQuestion): readonly X509Certificate[] | null {
  const { issuers, roots } = question;
  if (issuers.length > MAX_SENT_ISSUERS) return null;
  let signaturesLeft = MAX_SIGNATURES;

  function signed(certificate: X509Certificate, issuer: X509Certificate): boolean {
    if (!certificate.checkIssued(issuer) || signaturesLeft === 0) return false;
    signaturesLeft -= 1;
    return certificate.verify(issuer.publicKey);
  }

  /** The chain above `certificate`, which has `below` issuers under it already. */
  function walk(certificate: X509Certificate, below: readonly X509Certificate[]): readonly X509Certificate[] | null {
    // Roots first: the shortest way counts, as it does for OpenSSL.
    const root = roots.find((one) => mayIssue(one, below.length, question) && signed(certificate, one));
    if (root !== undefined) return [...below, root];
    if (below.length >= MAX_ISSUERS) return null;
    for (const issuer of issuers) {
      if (below.includes(issuer) || issuer.checkIssued(issuer)) continue;
      if (!mayIssue(issuer, below.length, question) || !signed(certificate, issuer)) continue;
      const found = walk(issuer, [...below, issuer]);
      if (found !== null) return found;
    }
    return null;
  }

  return walk(leaf, []);
}

/** True for a CA that is valid now, has a strong key and no constraint that forbids what is below it. Fails closed: what cannot be read may issue nothing. */
function mayIssue(issuer: X509Certificate, issuersBelow: number, { trustDomain, nowMs }: ChainQuestion): boolean {
  if (!issuer.ca || issuer.validFromDate.getTime() > nowMs || nowMs >= issuer.validToDate.getTime()) return false;
  const facts = factsOf(issuer);
  return facts !== null && whyNoIssuer(facts, trustDomain) === null && issuersBelow <= (facts.extensions.pathLength ?? MAX_ISSUERS);
}

/** Why nothing that a certificate with these extensions signs for `trustDomain` is believed; null when it may. Its time and its place in a chain are other questions. */
export function whyNoIssuer({ extensions, key }: IssuerFacts, trustDomain: string): string | null {
  if (!extensions.isCa) return "the certificate is not a CA (basicConstraints CA:TRUE is missing)";
  if (extensions.keyUsage !== null && !extensions.keyUsage.has("keyCertSign")) return "the certificate's keyUsage has no keyCertSign";
  if (!isStrongKey(key)) return "its key is not P-256, P-384 or RSA of at least 2048 bits";
  const usages = extensions.extendedKeyUsage;
  const isLimited = usages !== null && !usages.includes(OID.anyExtendedKeyUsage);
  if (isLimited && !(usages.includes(OID.serverAuth) && usages.includes(OID.clientAuth)))
    return "its extendedKeyUsage does not allow TLS servers and clients";
  if (extensions.unknownCritical.length > 0)
    return `it has critical extensions that are not known here: ${extensions.unknownCritical.join(", ")}`;
  if (extensions.hasOddNameConstraints) return "it limits names in a way that is not understood here (only permitted URI hosts are)";
  const hosts = extensions.permittedUriHosts;
  if (hosts !== null && !hosts.some((host) => isWithin(trustDomain, host)))
    return `its name constraints permit ${hosts.join(", ") || "nothing"}, not the trust domain ${trustDomain}`;
  return null;
}

/** What of an issuer's certificate is asked about. */
export interface IssuerFacts {
  readonly extensions: Extensions;
  readonly key: KeyObject;
}

/** Issuers are few and seen again and again; what was read once goes with the certificate's object. */
const known = new WeakMap<X509Certificate, IssuerFacts | null>();

/** Null for a certificate whose extensions or key cannot be read. */
export function factsOf(issuer: X509Certificate): IssuerFacts | null {
  let facts = known.get(issuer);
  if (facts === undefined) {
    facts = readFacts(issuer);
    known.set(issuer, facts);
  }
  return facts;
}

function readFacts(issuer: X509Certificate): IssuerFacts | null {
  try {
    return { extensions: readCertificateExtensions(issuer.raw), key: issuer.publicKey };
  } catch {
    return null;
  }
}

/** RFC 5280 4.2.1.10: a constraint is a host, or with a dot before it every host below. */
function isWithin(host: string, constraint: string): boolean {
  return constraint.startsWith(".") ? host.endsWith(constraint.toLowerCase()) : host === constraint.toLowerCase();
}
