// Chains from leaf to root, with OpenSSL as the oracle: whatever it refuses, our walk refuses too. Where we are stricter, the table says so.
import { generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import t from "tap";
import type { CertificateOptions, Issuer } from "../../../core/x509/certificate.ts";
import { createCertificate, issuerOf, selfIssuer, splitCertificates, subjectOf } from "../../../core/x509/certificate.ts";
import { factsOf, findChain, findRoot, MAX_ISSUERS, MAX_SENT_ISSUERS, whyNoIssuer } from "../../../core/x509/chain.ts";
import { OID } from "../../../core/x509/extensions.ts";
import { checkMessageCertificate } from "../../../core/x509/peer-check.ts";
import { fromPemBundle, toPem } from "../../../core/x509/pem.ts";
import { openssl, opensslSelfSigned } from "./openssl.ts";

const DAY_MS = 86_400_000;
const nowMs = Date.now();
const trustDomain = "cluster.local";
const EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/** A CA certificate and what signs with it. */
interface Ca {
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
  readonly issuer: Issuer;
}

function makeCa(commonName: string, parent: Ca | null, changes: Partial<CertificateOptions> = {}, key = makeKey()): Ca {
  const der = createCertificate({
    publicKey: key,
    issuer: parent?.issuer ?? selfIssuer(key, commonName),
    notBeforeMs: nowMs - 20_000,
    notAfterMs: nowMs + DAY_MS,
    commonName,
    names: {},
    isCa: true,
    keyUsage: ["keyCertSign", "cRLSign"],
    extendedKeyUsage: [],
    ...changes,
  });
  const certificate = new X509Certificate(der);
  return { certificate, key, issuer: issuerOf(certificate, key) };
}

function makeLeaf({ issuer }: Ca, changes: Partial<CertificateOptions> = {}): X509Certificate {
  return new X509Certificate(
    createCertificate({
      publicKey: makeKey(),
      issuer,
      notBeforeMs: nowMs - 20_000,
      notAfterMs: nowMs + DAY_MS,
      commonName: "",
      names: { uris: [`spiffe://${trustDomain}/ns/shop/sa/orders`] },
      isCa: false,
      keyUsage: ["digitalSignature"],
      extendedKeyUsage: [OID.serverAuth, OID.clientAuth],
      ...changes,
    }),
  );
}

function selfSigned(args: readonly string[]): string {
  return opensslSelfSigned([...args, "-subj", "/CN=odd", "-addext", "keyUsage=critical,keyCertSign"]).cert;
}

function makeKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}

/** OpenSSL's word for the same question, as a TLS server's certificate. */
function accepts(leaf: X509Certificate, issuers: readonly X509Certificate[], roots: readonly X509Certificate[]): boolean {
  const pem = (certificates: readonly X509Certificate[]) => certificates.map(({ raw }) => toPem(raw, "CERTIFICATE")).join("");
  const untrusted = issuers.length === 0 ? [] : ["-untrusted", "issuers.pem"];
  const { code } = openssl(["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "roots.pem", ...untrusted, "leaf.pem"], {
    "leaf.pem": pem([leaf]),
    "issuers.pem": pem(issuers),
    "roots.pem": pem(roots),
  });
  return code === 0;
}

/** Made by OpenSSL, which takes them; what they say is not understood here. */
const ODD_CAS: readonly [string, string][] = [
  ["RSA of 1024 bits", selfSigned(["-newkey", "rsa:1024"])],
  ["ed25519", selfSigned(["-newkey", "ed25519"])],
  ["names excluded", selfSigned([...EC, "-addext", "nameConstraints=critical,excluded;URI:other.example"])],
  ["DNS names permitted", selfSigned([...EC, "-addext", "nameConstraints=critical,permitted;DNS:cluster.local"])],
  ["a critical extension of nobody", selfSigned([...EC, "-addext", "1.2.3.4=critical,ASN1:NULL"])],
];

const root = makeCa("root", null);
const other = makeCa("root", null);
const issuer = makeCa("issuer", root, { pathLength: 0 });

t.test("chains that are good, and hostile ones; OpenSSL says the same", (t) => {
  const below = makeCa("below", issuer);
  const expired = makeCa("expired", root, { notBeforeMs: nowMs - 2 * DAY_MS, notAfterMs: nowMs - DAY_MS });
  const early = makeCa("early", root, { notBeforeMs: nowMs + DAY_MS / 2 });
  const noCa = makeCa("no CA", root, { isCa: false });
  const noSign = makeCa("no sign", root, { keyUsage: ["digitalSignature"] });
  const elsewhere = makeCa("elsewhere", root, { permittedUriHosts: ["other.example"] });
  const here = makeCa("here", root, { permittedUriHosts: [trustDomain] });
  const limited = makeCa("limited", root, { extendedKeyUsage: [OID.clientAuth] });
  const forged = makeCa("issuer", makeCa("root", null, {}, other.key));
  const leafOfLeaf = makeLeaf({ ...root, issuer: issuerOf(makeLeaf(root, { commonName: "leaf" }), makeKey()) });
  const [one, two] = [makeCa("one", root), makeCa("two", root)];
  // Each has signed the other's name: a circle that ends nowhere.
  const circle = [makeCa("one", two, {}, one.key), makeCa("two", one, {}, two.key)].map(({ certificate }) => certificate);
  const foreignCircle = [makeCa("a", makeCa("b", null)), makeCa("b", makeCa("a", null))].map(({ certificate }) => certificate);
  const cases: readonly [string, boolean, X509Certificate, readonly X509Certificate[], readonly X509Certificate[]][] = [
    ["the root itself", true, makeLeaf(root), [], [root.certificate]],
    ["another root of the same name", false, makeLeaf(root), [], [other.certificate]],
    ["the right one of two roots of one name", true, makeLeaf(root), [], [other.certificate, root.certificate]],
    ["an issuer", true, makeLeaf(issuer), [issuer.certificate], [root.certificate]],
    ["an issuer that was not sent", false, makeLeaf(issuer), [], [root.certificate]],
    ["an issuer of another root", false, makeLeaf(issuer), [issuer.certificate], [other.certificate]],
    [
      "an issuer that another of its name stands for",
      false,
      makeLeaf(makeCa("x", one)),
      [one.certificate, makeCa("x", one).certificate],
      [root.certificate],
    ],
    ["the root sent too", true, makeLeaf(issuer), [root.certificate, issuer.certificate], [root.certificate]],
    ["a path that is too long", false, makeLeaf(below), [below.certificate, issuer.certificate], [root.certificate]],
    ["an expired issuer", false, makeLeaf(expired), [expired.certificate], [root.certificate]],
    ["an issuer of tomorrow", false, makeLeaf(early), [early.certificate], [root.certificate]],
    ["an issuer that is no CA", false, makeLeaf(noCa), [noCa.certificate], [root.certificate]],
    ["an issuer that may not sign certificates", false, makeLeaf(noSign), [noSign.certificate], [root.certificate]],
    ["an issuer for another trust domain", false, makeLeaf(elsewhere), [elsewhere.certificate], [root.certificate]],
    ["an issuer for this trust domain", true, makeLeaf(here), [here.certificate], [root.certificate]],
    ["an issuer for TLS clients alone", false, makeLeaf(limited), [limited.certificate], [root.certificate]],
    ["a forged issuer of the right name", false, makeLeaf(forged), [forged.certificate], [root.certificate]],
    ["a leaf that plays the CA", false, leafOfLeaf, [makeLeaf(root)], [root.certificate]],
    ["a circle", false, makeLeaf(one), circle, [other.certificate]],
    ["a foreign circle", false, makeLeaf(makeCa("a", null)), foreignCircle, [root.certificate]],
  ];
  for (const [name, expected, leaf, issuers, roots] of cases) {
    const found = findRoot(leaf, { issuers, roots, trustDomain, nowMs });
    t.equal(found !== null, expected, name);
    t.equal(accepts(leaf, issuers, roots), expected, `${name}, says OpenSSL`);
  }
  t.end();
});

t.test("issuers count in any order", (t) => {
  const one = makeCa("one", root);
  const two = makeCa("two", one);
  const leaf = makeLeaf(two);
  for (const issuers of [
    [one, two],
    [two, one],
  ]) {
    const sent = issuers.map(({ certificate }) => certificate);
    const chain = findChain(leaf, { issuers: sent, roots: [root.certificate], trustDomain, nowMs });
    t.same(
      chain?.map(({ subject }) => subject),
      ["CN=two", "CN=one", "CN=root"],
    );
    t.ok(accepts(leaf, sent, [root.certificate]));
  }
  t.end();
});

t.test("stricter than OpenSSL: depth, number, constraints that are not understood", (t) => {
  const deep: Ca[] = [];
  for (let index = 0; index <= MAX_ISSUERS; index += 1) deep.push(makeCa(`deep ${index}`, deep.at(-1) ?? root));
  const sent = deep.map(({ certificate }) => certificate);
  const question = { issuers: sent, roots: [root.certificate], trustDomain, nowMs };
  t.not(findRoot(makeLeaf(deep.at(-2) as Ca), question), null, `${MAX_ISSUERS} issuers are followed`);
  t.equal(findRoot(makeLeaf(deep.at(-1) as Ca), question), null, `${MAX_ISSUERS + 1} are not`);
  const many = Array.from({ length: MAX_SENT_ISSUERS + 1 }, () => issuer.certificate);
  t.equal(findRoot(makeLeaf(issuer), { ...question, issuers: many }), null, "too many were sent");
  for (const [name, made] of ODD_CAS) {
    const pem = fromPemBundle(made)[0] as Buffer;
    const odd = new X509Certificate(pem);
    const facts = factsOf(odd);
    t.not(facts === null ? "unreadable" : whyNoIssuer(facts, trustDomain), null, name);
  }
  t.end();
});

t.test("issuers of one name do not make the walk long", (t) => {
  const twins = Array.from({ length: MAX_SENT_ISSUERS }, () =>
    makeCa("twin", makeCa("twin", null), { subject: { name: selfIssuer(makeKey(), "twin").name, keyId: Buffer.alloc(20) } }),
  );
  const startedMs = performance.now();
  t.equal(
    findRoot(makeLeaf(twins[0] as Ca), {
      issuers: twins.map(({ certificate }) => certificate),
      roots: [root.certificate],
      trustDomain,
      nowMs,
    }),
    null,
  );
  t.comment(`${Math.round(performance.now() - startedMs)} ms`);
  t.end();
});

t.test("a root signed by the one before it: who knows either of the two believes", (t) => {
  const next = makeCa("next root", null);
  const bridge = new X509Certificate(
    createCertificate({
      publicKey: next.certificate.publicKey,
      issuer: root.issuer,
      subject: subjectOf(next.certificate),
      notBeforeMs: nowMs - 20_000,
      notAfterMs: nowMs + DAY_MS,
      commonName: "",
      names: {},
      isCa: true,
      keyUsage: ["keyCertSign", "cRLSign"],
      extendedKeyUsage: [],
    }),
  );
  const leaf = makeLeaf(next);
  for (const roots of [[root], [next], [root, next]]) {
    const trusted = roots.map(({ certificate }) => certificate);
    // As the control plane sends it: the new root signed by the old one, then itself; the other way round OpenSSL gives up at the root that it does not know.
    const issuers = [bridge, next.certificate];
    const found = findRoot(leaf, { issuers, roots: trusted, trustDomain, nowMs });
    t.equal(found?.subject, roots.length === 1 ? roots[0]?.certificate.subject : "CN=next root");
    t.ok(accepts(leaf, issuers, trusted), "OpenSSL");
  }
  t.end();
});

t.test("a message certificate brings its issuers", (t) => {
  const message = makeLeaf(issuer, { keyUsage: ["digitalSignature", "keyAgreement"], extendedKeyUsage: [OID.messageSigning] });
  const together = Buffer.concat([message.raw, issuer.certificate.raw]);
  const rules = { trustDomain, nowMs, roots: [root.certificate] };
  t.equal(checkMessageCertificate(together, rules).identity, `spiffe://${trustDomain}/ns/shop/sa/orders`);
  t.throws(() => checkMessageCertificate(message.raw, rules), { code: "untrusted" });
  t.throws(() => checkMessageCertificate(together.subarray(0, -1), rules), { code: "malformed" });
  t.throws(() => checkMessageCertificate(Buffer.concat([together, Buffer.of(0)]), rules), { code: "malformed" });
  t.throws(() => checkMessageCertificate(Buffer.concat(Array.from({ length: MAX_ISSUERS + 2 }, () => message.raw)), rules), {
    code: "malformed",
  });
  for (const bytes of [Buffer.of(0x30, 0x80), Buffer.of(0x30, 0x84, 255, 255, 255, 255), Buffer.of(0x30), Buffer.of(0x31, 0)])
    t.throws(() => splitCertificates(bytes, 4), { code: "malformed" });
  t.same(splitCertificates(Buffer.alloc(0), 4), []);
  t.end();
});
