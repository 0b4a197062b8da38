// The certificate of the webhook: made by ourselves, because only the API server has to believe it and is told what to believe in `caBundle`.
// Each generation is a CA that signs one leaf and whose key is then forgotten, so there is no CA key to keep or to lose.
import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { createCertificate, issuerOf, randomSerial, selfIssuer } from "../../core/x509/certificate.ts";
import { OID } from "../../core/x509/extensions.ts";
import { fromPemBundle, toPem } from "../../core/x509/pem.ts";

/** How long one generation is valid, from its making. */
export const WEBHOOK_CERTIFICATE_LIFE_MS = 90 * 24 * 3_600_000;
/** A clock that is a little behind must accept it too. */
const BACK_DATED_MS = 10 * 60_000;
const RENEW_AT = 2 / 3;

/** Everything that replicas share. */
export interface WebhookMaterial {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  /** The CA of this leaf first, then the one before it, which a replica may still be serving. */
  readonly caBundlePem: string;
}

/** Names in the leaf. */
export interface WebhookNames {
  readonly dnsNames: readonly string[];
  /** Raw addresses, for a webhook outside of Kubernetes. */
  readonly addresses: readonly Buffer[];
}

/** Names under which the API server calls a Service. */
export function serviceNames(service: string, namespace: string): WebhookNames {
  return {
    dnsNames: [`${service}.${namespace}.svc`, `${service}.${namespace}.svc.cluster.local`, `${service}.${namespace}`],
    addresses: [],
  };
}

/** Names for a webhook on this machine, next to those of the Service. */
export function withLocalNames(names: WebhookNames): WebhookNames {
  const loopbackV6 = Buffer.alloc(16);
  loopbackV6[15] = 1;
  return { dnsNames: [...names.dnsNames, "localhost"], addresses: [...names.addresses, Buffer.of(127, 0, 0, 1), loopbackV6] };
}

/** Makes the next generation; `previous` stays believed until the one after. */
export function makeWebhookMaterial(
  names: WebhookNames,
  nowMs: number,
  random: (bytes: number) => Buffer,
  previous: WebhookMaterial | null,
): WebhookMaterial {
  const notBeforeMs = nowMs - BACK_DATED_MS;
  const notAfterMs = nowMs + WEBHOOK_CERTIFICATE_LIFE_MS;
  const ca = generateKeyPairSync("ec", { namedCurve: "P-256" });
  // Two CAs of one name in one bundle are told apart by their key ids.
  const caName = "Remora webhook CA";
  const common = { notBeforeMs, notAfterMs };
  const caDer = createCertificate({
    ...common,
    publicKey: ca.publicKey,
    issuer: selfIssuer(ca.privateKey, caName),
    commonName: caName,
    names: {},
    isCa: true,
    keyUsage: ["keyCertSign", "cRLSign"],
    extendedKeyUsage: [],
    serial: randomSerial(random),
  });
  const leaf = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const leafDer = createCertificate({
    ...common,
    publicKey: leaf.publicKey,
    issuer: issuerOf(new X509Certificate(caDer), ca.privateKey),
    commonName: names.dnsNames[0]?.slice(0, 64) ?? "",
    names,
    isCa: false,
    keyUsage: ["digitalSignature"],
    extendedKeyUsage: [OID.serverAuth],
    serial: randomSerial(random),
  });
  const caPem = toPem(caDer, "CERTIFICATE");
  return {
    certificatePem: toPem(leafDer, "CERTIFICATE"),
    privateKeyPem: leaf.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    caBundlePem: previous === null ? caPem : caPem + firstCertificate(previous.caBundlePem),
  };
}

/** True when the material is whole, for all of `names`, and valid at `nowMs`. Whatever else it is, a new one is better. */
export function isUsable(material: WebhookMaterial, names: WebhookNames, nowMs: number): boolean {
  try {
    const leaf = new X509Certificate(material.certificatePem);
    const [ca] = fromPemBundle(material.caBundlePem).map((der) => new X509Certificate(der));
    const key = createPrivateKey(material.privateKeyPem);
    if (ca === undefined || !leaf.checkPrivateKey(key) || !leaf.verify(ca.publicKey)) return false;
    if (!names.dnsNames.every((name) => leaf.checkHost(name) !== undefined)) return false;
    return nowMs >= leaf.validFromDate.getTime() && nowMs < leaf.validToDate.getTime();
  } catch {
    return false; // it may be anything: someone edited the Secret
  }
}

/** Epoch ms at which the material should be replaced: at two thirds of its life. */
export function renewAtMs(material: WebhookMaterial): number {
  const { validFromDate, validToDate } = new X509Certificate(material.certificatePem);
  return validFromDate.getTime() + (validToDate.getTime() - validFromDate.getTime()) * RENEW_AT;
}

/** Epoch ms at which the certificate ends. */
export function expiresAtMs(material: WebhookMaterial): number {
  return new X509Certificate(material.certificatePem).validToDate.getTime();
}

function firstCertificate(bundlePem: string): string {
  const [first] = fromPemBundle(bundlePem);
  return first === undefined ? "" : toPem(first, "CERTIFICATE");
}
