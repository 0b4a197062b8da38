import { createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import t from "tap";
import { createCertificate, issuerOf, keyIdOf, parseCertificate, randomSerial, selfIssuer } from "../../../core/x509/certificate.ts";
import { OID, readCertificateExtensions } from "../../../core/x509/extensions.ts";
import { fromPemBundle, toPem } from "../../../core/x509/pem.ts";
import { requires } from "../../support/requires.ts";
import type { KeyKind } from "../../support/throwaway-ca.ts";
import { createThrowawayCa, makeKey } from "../../support/throwaway-ca.ts";
import { openssl, opensslSelfSigned } from "./openssl.ts";

const DAY_MS = 86_400_000;
const noOpenssl = requires("openssl");

t.test("openssl verifies leaves for both TLS roles, and message certificates for none", { skip: noOpenssl }, async (t) => {
  const ca = createThrowawayCa();
  const inputs = {
    "root.pem": ca.rootPem,
    "leaf.pem": ca.leaf("shop/orders").certPem,
    "message.pem": ca.messageCertificate("shop/orders").certPem,
  };
  const verify = (purpose: string, file: string) =>
    openssl(["verify", "-x509_strict", "-check_ss_sig", "-CAfile", "root.pem", "-purpose", purpose, file], inputs);
  for (const purpose of ["sslserver", "sslclient"]) {
    t.match(verify(purpose, "leaf.pem"), { code: 0 }, purpose);
    t.not(verify(purpose, "message.pem").code, 0, `message certificate as ${purpose}`);
  }
  t.match(openssl(["verify", "-x509_strict", "-CAfile", "root.pem", "message.pem"], inputs), { code: 0 });
  t.match(openssl(["verify", "-x509_strict", "-check_ss_sig", "-CAfile", "root.pem", "root.pem"], inputs), { code: 0 });
});

t.test("openssl reads in a leaf what was written", { skip: noOpenssl }, async (t) => {
  const ca = createThrowawayCa();
  const { output } = openssl(["x509", "-in", "leaf.pem", "-noout", "-text", "-nameopt", "RFC2253"], {
    "leaf.pem": ca.leaf("shop/orders").certPem,
  });
  t.match(output, /Version: 3/);
  t.match(output, /Subject: *\n/, "the subject is empty");
  t.match(output, /Signature Algorithm: ecdsa-with-SHA256/);
  t.match(output, /Basic Constraints: critical\s+CA:FALSE/);
  t.match(output, /Key Usage: critical\s+Digital Signature\n/);
  t.match(output, /Extended Key Usage: \s+TLS Web Server Authentication, TLS Web Client Authentication/);
  t.match(output, /Subject Alternative Name: critical\s+URI:spiffe:\/\/cluster.local\/ns\/shop\/sa\/orders\n/);
  const [, subjectKey] = /Subject Key Identifier: \s+([0-9A-F:]+)/.exec(output) ?? [];
  t.equal(subjectKey?.length, 59);
  t.match(output, /Authority Key Identifier/);
});

t.test("issuers with P-256, P-384 and RSA keys sign what openssl and Node verify", { skip: noOpenssl }, async (t) => {
  for (const kind of ["p256", "p384", "rsa-2048"] satisfies KeyKind[]) {
    const key = makeKey(kind);
    const nowMs = Date.now();
    const shared = {
      notBeforeMs: nowMs - 1000,
      notAfterMs: nowMs + DAY_MS,
      keyUsage: ["digitalSignature", "keyCertSign"] as const,
      extendedKeyUsage: [],
    };
    const rootDer = createCertificate({
      ...shared,
      publicKey: key,
      issuer: selfIssuer(key, `root ${kind}`),
      commonName: `root ${kind}`,
      names: {},
      isCa: true,
    });
    const root = new X509Certificate(rootDer);
    const leafKey = makeKey("p256");
    const leafDer = createCertificate({
      ...shared,
      keyUsage: ["digitalSignature"],
      publicKey: leafKey,
      issuer: issuerOf(root, key),
      commonName: "",
      names: { dnsNames: ["webhook.remora-system.svc"], addresses: [Buffer.from([127, 0, 0, 1])] },
      isCa: false,
      extendedKeyUsage: [OID.serverAuth],
    });
    const leaf = new X509Certificate(leafDer);
    t.ok(leaf.verify(root.publicKey) && leaf.checkIssued(root) && leaf.checkPrivateKey(leafKey), kind);
    t.equal(leaf.subjectAltName, "DNS:webhook.remora-system.svc, IP Address:127.0.0.1");
    const inputs = { "root.pem": toPem(rootDer, "CERTIFICATE"), "leaf.pem": toPem(leafDer, "CERTIFICATE") };
    t.match(openssl(["verify", "-x509_strict", "-CAfile", "root.pem", "-purpose", "sslserver", "leaf.pem"], inputs), { code: 0 }, kind);
  }
});

t.test("a leaf chains to a root that openssl made", { skip: noOpenssl }, async (t) => {
  const made = opensslSelfSigned([
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-subj",
    "/O=Example/CN=Given Root",
    "-days",
    "30",
    "-addext",
    "keyUsage=critical,keyCertSign",
  ]);
  const root = new X509Certificate(made.cert);
  const key = makeKey("p256");
  const der = createCertificate({
    publicKey: key,
    issuer: issuerOf(root, createPrivateKey(made.key)),
    notBeforeMs: Date.now() - 1000,
    notAfterMs: Date.now() + DAY_MS,
    commonName: "",
    names: { uris: ["spiffe://cluster.local/ns/shop/sa/orders"] },
    isCa: false,
    keyUsage: ["digitalSignature"],
    extendedKeyUsage: [OID.serverAuth],
  });
  const inputs = { "root.pem": made.cert, "leaf.pem": toPem(der, "CERTIFICATE") };
  t.match(openssl(["verify", "-x509_strict", "-CAfile", "root.pem", "leaf.pem"], inputs), { code: 0 });
});

t.test("serials are positive, random and 128 bits", async (t) => {
  const ca = createThrowawayCa();
  const serials = new Set(Array.from({ length: 20 }, () => ca.leaf("shop/orders").certificate.serialNumber));
  t.equal(serials.size, 20);
  t.ok([...serials].every((serial) => serial.length <= 32 && !serial.startsWith("-")));
  t.same(
    randomSerial((bytes) => Buffer.alloc(bytes)),
    Buffer.of(1),
    "never zero",
  );
});

t.test("extensions read back as written", async (t) => {
  const ca = createThrowawayCa();
  const leaf = ca.leaf("shop/orders", { dnsNames: ["orders"], keyUsage: ["digitalSignature", "keyAgreement"] });
  t.match(readCertificateExtensions(leaf.der), {
    uris: ["spiffe://cluster.local/ns/shop/sa/orders"],
    otherNames: 1,
    isCa: false,
    keyUsage: new Set(["digitalSignature", "keyAgreement"]),
    extendedKeyUsage: [OID.serverAuth, OID.clientAuth],
    subjectKeyId: keyIdOf(createPublicKey(leaf.key)),
    unknownCritical: [],
  });
  t.match(readCertificateExtensions(ca.root.raw), {
    uris: [],
    isCa: true,
    keyUsage: new Set(["keyCertSign", "cRLSign"]),
    extendedKeyUsage: null,
  });
});

t.test("PEM bundles come back as the certificates that went in", async (t) => {
  const ca = createThrowawayCa();
  const leaf = ca.leaf("shop/orders");
  t.same(fromPemBundle(`words before\n${leaf.certPem}words between\n${ca.rootPem}`), [leaf.der, ca.root.raw]);
  t.throws(() => fromPemBundle("-----BEGIN PRIVATE KEY-----"), { code: "malformed" });
  t.throws(() => parseCertificate(Buffer.from("not a certificate")), { code: "malformed" });
});
