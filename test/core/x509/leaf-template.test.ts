// The two short cuts of a busy CA give what the long ways give: templates what `createCertificate` writes, the comparison what `parseCsr` reads. OpenSSL is the judge.
import { createPublicKey, generateKeyPairSync, randomBytes, X509Certificate } from "node:crypto";
import t from "tap";
import { spkiOf } from "../../../certs/profile.ts";
import { createCertificate } from "../../../core/x509/certificate.ts";
import { createCsr, encodeCsr, parseCsr } from "../../../core/x509/csr.ts";
import { decodeDer, encodeDer, oid, readSequence, sequence, octetString } from "../../../core/x509/der.ts";
import { type KeyUsage, OID, subjectAltName } from "../../../core/x509/extensions.ts";
import { createLeafTemplate } from "../../../core/x509/leaf-template.ts";
import { createOwnCsrReader } from "../../../core/x509/own-csr.ts";
import { tlv } from "../../../core/x509/tlv.ts";
import { createThrowawayCa, makeKey } from "../../support/throwaway-ca.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

const ca = createThrowawayCa();
const identity = ca.id("shop/web");

t.test("a template writes what createCertificate writes, for every kind, serial and time", async (t) => {
  const kinds: { readonly keyUsage: readonly KeyUsage[]; readonly extendedKeyUsage: readonly string[] }[] = [
    { keyUsage: ["digitalSignature"], extendedKeyUsage: [OID.serverAuth, OID.clientAuth] },
    { keyUsage: ["digitalSignature", "keyAgreement"], extendedKeyUsage: [OID.messageSigning] },
  ];
  const serials = [Buffer.of(1), Buffer.from("00ff", "hex"), Buffer.alloc(16, 0xff), Buffer.concat([Buffer.alloc(3), randomBytes(13)])];
  const longId = ca.id(`${"n".repeat(63)}/${Array.from({ length: 4 }, () => "a".repeat(60)).join(".")}`);
  for (const kind of kinds) {
    const write = createLeafTemplate(ca.issuer, kind);
    for (const serial of serials) {
      for (const uri of [identity, longId]) {
        const publicKey = makeKey("p256");
        const times = { notBeforeMs: Date.UTC(2049, 11, 31, 23, 59, 59), notAfterMs: Date.UTC(2050, 0, 1) + 999 };
        const slow = createCertificate({
          publicKey,
          issuer: ca.issuer,
          ...times,
          commonName: "",
          names: { uris: [uri] },
          isCa: false,
          ...kind,
          serial,
        });
        const fast = write({ serial, ...times, uri, spki: spkiOf(publicKey) });
        t.same(partsOf(fast).slice(0, 2), partsOf(slow).slice(0, 2), "all but the signature is the same");
        t.ok(new X509Certificate(fast).verify(ca.root.publicKey), "and that is good");
      }
    }
  }
});

t.test("our own request is recognised, with the key that parseCsr reads", async (t) => {
  const read = createOwnCsrReader();
  for (let round = 0; round < 20; round += 1) {
    const der = createCsr({ key: makeKey("p256"), identity });
    const spki = read(der, identity);
    t.ok(spki !== null && createPublicKey({ key: spki, format: "der", type: "spki" }).equals(parseCsr(der).publicKey));
  }
});

t.test("what is not our own request for that identity is left to the parser", async (t) => {
  const read = createOwnCsrReader();
  const key = makeKey("p256");
  const der = createCsr({ key, identity });
  const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ type: "spki", format: "der" });
  const withOtherKey = Buffer.from(der);
  stranger.copy(withOtherKey, withOtherKey.indexOf(spkiOf(key)));
  const more = sequence(oid("2.5.29.99"), octetString(Buffer.of(5, 0)));
  const others: Record<string, Buffer> = {
    "another identity": createCsr({ key, identity: ca.id("shop/api") }),
    "two names": encodeCsr(key, [identity, identity]),
    "no name": encodeCsr(key, []),
    "one extension more": encodeCsr(key, [identity], [more]),
    "the name twice": encodeCsr(key, [identity], [subjectAltName({ uris: [identity] }, true)]),
    "P-384": createCsr({ key: makeKey("p384"), identity }),
    RSA: createCsr({ key: makeKey("rsa-2048"), identity }),
    "a key that did not sign": withOtherKey,
    "octets behind it": Buffer.concat([der, Buffer.of(0)]),
    "cut short": der.subarray(0, -1),
    nothing: Buffer.alloc(0),
    "a longer length than needed": Buffer.concat([Buffer.of(0x30, 0x83, 0, 0), der.subarray(der[1] === 0x81 ? 2 : 3)]),
  };
  for (const [what, bytes] of Object.entries(others)) t.equal(read(bytes, identity), null, what);
});

t.test("no change of an octet gets past both", async (t) => {
  const read = createOwnCsrReader();
  const der = createCsr({ key: makeKey("p256"), identity });
  const random = createSeededRandom(7);
  let taken = 0;
  for (let at = 0; at < der.length; at += 1) {
    const changed = Buffer.from(der);
    changed[at] = (der[at] ?? 0) ^ (1 + random.below(255));
    if (read(changed, identity) === null) continue;
    taken += 1;
    t.doesNotThrow(() => parseCsr(changed), "taken only if the parser takes it too");
  }
  t.equal(taken, 0);
});

t.test("lengths are in their shortest form", async (t) => {
  for (const length of [0, 1, 127, 128, 255, 256, 1000, 16_000]) {
    const bytes = tlv(0x04, Buffer.alloc(length, 1));
    t.same(encodeDer(decodeDer(bytes, "value")), bytes, `${length} octets`);
  }
});

function partsOf(der: Buffer): Buffer[] {
  return readSequence(decodeDer(der, "certificate"), "certificate").map(encodeDer);
}
