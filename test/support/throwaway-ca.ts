// A certificate authority for tests, made in milliseconds and thrown away: good leaves, message certificates, and every kind of bad leaf that
// the mesh must refuse. Also an identity source without a control plane, holding real keys and certificates.
import type { KeyObject } from "node:crypto";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { credentials as grpcCredentials } from "@grpc/grpc-js";
import type { Issuer } from "../../core/x509/certificate.ts";
import { createCertificate, issuerOf, selfIssuer } from "../../core/x509/certificate.ts";
import type { KeyUsage } from "../../core/x509/extensions.ts";
import { OID } from "../../core/x509/extensions.ts";
import { checkPeerCertificate, messageKeyId } from "../../core/x509/peer-check.ts";
import { toPem } from "../../core/x509/pem.ts";
import { formatPin } from "../../core/x509/pin.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import { parseSpiffeId, spiffeParts } from "../../core/spiffe.ts";
import type { Root } from "../../certs/root.ts";
import type { Credentials, IdentitySource } from "../../sidecar/identity/identity-source.ts";

const DAY_MS = 86_400_000;
const BACKDATE_MS = 20_000;
const TLS_USAGES = [OID.serverAuth, OID.clientAuth];

/** Kinds of key that tests ask for. "rsa-1024" is weak on purpose. */
export type KeyKind = "p256" | "p384" | "rsa-1024" | "rsa-2048";

/** Changes to a good leaf. */
export interface LeafOptions {
  /** URI names; default: the identity alone. */
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly addresses?: readonly Buffer[];
  readonly commonName?: string;
  /** Default "p256". */
  readonly keyKind?: KeyKind;
  /** A key made before; beats `keyKind`. */
  readonly key?: KeyObject;
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  readonly isCa?: boolean;
  readonly keyUsage?: readonly KeyUsage[];
  readonly extendedKeyUsage?: readonly string[];
}

/** One certificate with its key, in the forms that TLS options and our own functions take. */
export interface Leaf {
  readonly key: KeyObject;
  readonly keyPem: string;
  readonly certificate: X509Certificate;
  readonly certPem: string;
  readonly der: Buffer;
}

/** Leaves that must be refused, each by its `CertError` code. "foreign" is good but of another authority with the same names. */
export type BadLeaf =
  | "two-san"
  | "missing-san"
  | "ca-leaf"
  | "rsa-1024"
  | "expired"
  | "not-yet-valid"
  | "foreign"
  | "wrong-usage"
  | "wrong-trust-domain";

/** Every {@link BadLeaf} with the code it is refused with. */
export const BAD_LEAVES = {
  "two-san": "not_one_uri_san",
  "missing-san": "not_one_uri_san",
  "ca-leaf": "ca_as_leaf",
  "rsa-1024": "weak_key",
  expired: "expired",
  "not-yet-valid": "expired",
  foreign: "untrusted",
  "wrong-usage": "wrong_usage",
  "wrong-trust-domain": "wrong_trust_domain",
} as const satisfies Record<BadLeaf, string>;

/** The authority. */
export interface ThrowawayCa {
  readonly trustDomain: string;
  readonly root: X509Certificate;
  readonly rootPem: string;
  readonly rootKey: KeyObject;
  readonly rootKeyPem: string;
  /** `sha256:<hex>` of the root. */
  readonly pin: string;
  readonly issuer: Issuer;
  /** The root as the CA signs with it. */
  readonly signer: Root;
  /** A TLS leaf for `identity` ("ns/sa" or a whole SPIFFE id). */
  leaf(identity: string, options?: LeafOptions): Leaf;
  /** A TLS leaf that breaks one rule. */
  badLeaf(kind: BadLeaf, identity: string): Leaf;
  /** A message certificate (design 9). */
  messageCertificate(identity: string, options?: LeafOptions): Leaf;
  /** The SPIFFE id of "ns/sa" here. */
  id(identity: string): SpiffeId;
}

/** Makes an authority with a root of ten years. */
export function createThrowawayCa(options: { readonly trustDomain?: string; readonly nowMs?: number } = {}): ThrowawayCa {
  const { trustDomain = "cluster.local", nowMs = Date.now() } = options;
  const rootKey = makeKey("p256");
  const rootDer = createCertificate({
    publicKey: rootKey,
    issuer: selfIssuer(rootKey, "throwaway root"),
    notBeforeMs: nowMs - BACKDATE_MS,
    notAfterMs: nowMs + 3650 * DAY_MS,
    commonName: "throwaway root",
    names: {},
    isCa: true,
    keyUsage: ["keyCertSign", "cRLSign"],
    extendedKeyUsage: [],
  });
  const root = new X509Certificate(rootDer);
  const issuer = issuerOf(root, rootKey);

  function id(identity: string): SpiffeId {
    if (identity.startsWith("spiffe://")) return parseSpiffeId(identity);
    const [namespace = "", serviceAccount = ""] = identity.split("/");
    return parseSpiffeId(`spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`);
  }

  function issue(identity: string, given: LeafOptions, usage: Pick<Required<LeafOptions>, "keyUsage" | "extendedKeyUsage">): Leaf {
    const key = given.key ?? makeKey(given.keyKind ?? "p256");
    const der = createCertificate({
      publicKey: key,
      issuer,
      notBeforeMs: given.notBeforeMs ?? nowMs - BACKDATE_MS,
      notAfterMs: given.notAfterMs ?? nowMs + DAY_MS,
      commonName: given.commonName ?? "",
      names: { uris: given.uris ?? [id(identity)], dnsNames: given.dnsNames ?? [], addresses: given.addresses ?? [] },
      isCa: given.isCa ?? false,
      keyUsage: given.keyUsage ?? usage.keyUsage,
      extendedKeyUsage: given.extendedKeyUsage ?? usage.extendedKeyUsage,
    });
    return { key, keyPem: pemOf(key), certificate: new X509Certificate(der), certPem: toPem(der, "CERTIFICATE"), der };
  }

  const leaf: ThrowawayCa["leaf"] = (identity, given = {}) =>
    issue(identity, given, { keyUsage: ["digitalSignature"], extendedKeyUsage: TLS_USAGES });

  return {
    trustDomain,
    root,
    rootPem: toPem(rootDer, "CERTIFICATE"),
    rootKey,
    rootKeyPem: pemOf(rootKey),
    pin: formatPin(rootDer),
    issuer,
    signer: { certificate: root, issuer, issuers: [], anchor: root, notAfterMs: root.validToDate.getTime() },
    leaf,
    badLeaf: (kind, identity) => makeBadLeaf(leaf, kind, id(identity), nowMs),
    messageCertificate: (identity, given = {}) =>
      issue(identity, given, { keyUsage: ["digitalSignature", "keyAgreement"], extendedKeyUsage: [OID.messageSigning] }),
    id,
  };
}

/**
 * An identity source that never renews: real keys and certificates of `ca`, no control plane behind it. `grpcChannel` talks to
 * `controlAddress` (default "127.0.0.1:0", good for nothing) and checks the server as the real one does.
 */
export function createStaticIdentity(
  ca: ThrowawayCa,
  identity: string,
  options: { readonly controlAddress?: string; readonly controlIdentity?: string } = {},
): IdentitySource & { /** Swaps in new credentials, as a renewal does. */ renew(): void } {
  const { controlAddress = "127.0.0.1:0", controlIdentity = "remora-system/remora-control" } = options;
  const watchers = new Set<(credentials: Credentials) => void>();
  let current = makeCredentials(ca, identity, null);
  return {
    identity: ca.id(identity),
    trustDomain: ca.trustDomain,
    current: () => current,
    onChange(run) {
      watchers.add(run);
      return () => void watchers.delete(run);
    },
    grpcChannel() {
      const context = createSecureContext({
        ca: current.rootsPem,
        key: current.privateKeyPem,
        cert: current.certificateChainPem,
        minVersion: "TLSv1.3",
      });
      const checkServerIdentity = (_host: string, peer: { readonly raw: Buffer }) => {
        const rules = { trustDomain: ca.trustDomain, usage: "server", nowMs: Date.now() } as const;
        try {
          const found = checkPeerCertificate(new X509Certificate(peer.raw), rules);
          return found === ca.id(controlIdentity) ? undefined : new Error(`the control plane is ${found}`);
        } catch (error) {
          return error as Error;
        }
      };
      return {
        address: controlAddress,
        credentials: grpcCredentials.createFromSecureContext(context, { checkServerIdentity }),
        options: {},
      };
    },
    renew() {
      current = makeCredentials(ca, identity, current);
      for (const run of watchers) run(current);
    },
    close: () => Promise.resolve(),
  };
}

/** A fresh private key. */
export function makeKey(kind: KeyKind): KeyObject {
  switch (kind) {
    case "p256":
      return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
    case "p384":
      return generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey;
    case "rsa-1024":
      return generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey;
    case "rsa-2048":
      return generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  }
}

function pemOf(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }) as string; // PEM export gives a string; the types allow both
}

function makeBadLeaf(leaf: ThrowawayCa["leaf"], kind: BadLeaf, identity: SpiffeId, nowMs: number): Leaf {
  const { namespace, serviceAccount, trustDomain } = spiffeParts(identity);
  switch (kind) {
    case "two-san":
      return leaf(identity, { uris: [identity, `spiffe://${trustDomain}/ns/${namespace}/sa/other`] });
    case "missing-san":
      return leaf(identity, { uris: [], commonName: serviceAccount });
    case "ca-leaf":
      return leaf(identity, { isCa: true });
    case "rsa-1024":
      return leaf(identity, { keyKind: "rsa-1024" });
    case "expired":
      return leaf(identity, { notBeforeMs: nowMs - 2 * DAY_MS, notAfterMs: nowMs - DAY_MS });
    case "not-yet-valid":
      return leaf(identity, { notBeforeMs: nowMs + DAY_MS, notAfterMs: nowMs + 2 * DAY_MS });
    case "foreign":
      return createThrowawayCa({ trustDomain, nowMs }).leaf(identity);
    case "wrong-usage":
      return leaf(identity, { extendedKeyUsage: [OID.messageSigning] });
    case "wrong-trust-domain":
      return leaf(identity, { uris: [`spiffe://elsewhere.example/ns/${namespace}/sa/${serviceAccount}`] });
  }
}

function makeCredentials(ca: ThrowawayCa, identity: string, before: Credentials | null): Credentials {
  const tls = ca.leaf(identity);
  const message = ca.messageCertificate(identity);
  return {
    certificateChainPem: tls.certPem,
    privateKeyPem: tls.keyPem,
    leaf: tls.certificate,
    expiresAtMs: tls.certificate.validToDate.getTime(),
    rootsPem: ca.rootPem,
    roots: [ca.root],
    messageKey: message.key,
    messageCertificate: message.der,
    messageKeyId: messageKeyId(message.der),
    previous:
      before === null ? null : { messageKey: before.messageKey, messageKeyId: before.messageKeyId, expiresAtMs: before.expiresAtMs },
  };
}
