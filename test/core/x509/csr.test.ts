import { createPublicKey, generateKeyPairSync } from "node:crypto";
import t from "tap";
import { CertError } from "../../../core/errors.ts";
import { parseSpiffeId } from "../../../core/spiffe.ts";
import { createCsr, encodeCsr, parseCsr } from "../../../core/x509/csr.ts";
import { decodeDer, encodeDer, readSequence, sequence } from "../../../core/x509/der.ts";
import { basicConstraints, extendedKeyUsage, OID } from "../../../core/x509/extensions.ts";
import { requires } from "../../support/requires.ts";
import type { KeyKind } from "../../support/throwaway-ca.ts";
import { makeKey } from "../../support/throwaway-ca.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";
import { mutate } from "./mutate.ts";
import { openssl } from "./openssl.ts";

const identity = parseSpiffeId("spiffe://cluster.local/ns/shop/sa/orders");

t.test("a request reads back with its key and identity", async (t) => {
  for (const kind of ["p256", "p384", "rsa-2048"] satisfies KeyKind[]) {
    const key = makeKey(kind);
    const parsed = parseCsr(createCsr({ key, identity }));
    t.equal(parsed.identity, identity);
    t.ok(parsed.publicKey.equals(createPublicKey(key)), kind);
  }
});

t.test("openssl verifies our request", { skip: requires("openssl") }, async (t) => {
  const csr = createCsr({ key: makeKey("p256"), identity });
  const { code, output } = openssl(["req", "-inform", "DER", "-in", "csr.der", "-verify", "-noout", "-text"], { "csr.der": csr });
  t.equal(code, 0);
  t.match(output, /self-signature verify OK/);
  t.match(output, /URI:spiffe:\/\/cluster.local\/ns\/shop\/sa\/orders/);
});

t.test("a request that openssl made is understood", { skip: requires("openssl") }, async (t) => {
  const key = makeKey("p256").export({ type: "pkcs8", format: "pem" }) as string;
  const names = `subjectAltName=URI:${identity},DNS:ignored`;
  const { output } = openssl(["req", "-new", "-key", "key.pem", "-subj", "/CN=anything", "-addext", names], { "key.pem": key });
  const [, body = ""] = /-----BEGIN CERTIFICATE REQUEST-----([\s\S]*)-----END/.exec(output) ?? [];
  t.equal(parseCsr(Buffer.from(body, "base64")).identity, identity);
});

t.test("what else a request asks for is not even looked at", async (t) => {
  const greedy = encodeCsr(makeKey("p256"), [identity], [basicConstraints(true), extendedKeyUsage([OID.anyExtendedKeyUsage])]);
  t.same(Object.keys(parseCsr(greedy)).sort(), ["identity", "publicKey"]);
});

t.test("bad requests are refused by their code", async (t) => {
  const key = makeKey("p256");
  const good = createCsr({ key, identity });
  const forged = Buffer.from(good);
  forged[forged.length - 1] = (forged[forged.length - 1] ?? 0) ^ 1;
  // The identity of another one, under the signature that was made for the first.
  const swapped = Buffer.from(good.toString("latin1").replace("/sa/orders", "/sa/0rders"), "latin1");
  const cases: readonly [string, Buffer, string][] = [
    ["nothing", Buffer.alloc(0), "malformed"],
    ["garbage", Buffer.from("GET / HTTP/1.1\r\n\r\n"), "malformed"],
    ["half of one", good.subarray(0, good.length >> 1), "malformed"],
    ["one and a byte", Buffer.concat([good, Buffer.of(0)]), "malformed"],
    ["oversized", Buffer.alloc(1 << 20, 0x30), "malformed"],
    ["a broken signature", forged, "malformed"],
    ["another identity under the same signature", swapped, "malformed"],
    ["no name", encodeCsr(key, []), "not_one_uri_san"],
    ["two names", encodeCsr(key, [identity, "spiffe://cluster.local/ns/shop/sa/other"]), "not_one_uri_san"],
    ["not an identity", encodeCsr(key, ["https://example.com/"]), "malformed"],
    ["a NUL in the name", encodeCsr(key, [`${identity}\0.evil`]), "malformed"],
  ];
  for (const [name, der, code] of cases) t.throws(() => parseCsr(der), { name: "CertError", code }, name);
});

t.test("a weak key is refused before anything is signed for it", async (t) => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
  // Our own encoder refuses to sign with such a key, so the good request gets another public key put in.
  const good = createCsr({ key: makeKey("p256"), identity });
  const weak = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  t.throws(() => createCsr({ key: privateKey, identity }), { code: "weak_key" });
  const [info, ...rest] = readSequence(decodeDer(good, "csr"), "csr");
  const [version, subject, , attributes] = readSequence(info, "csr");
  if (version === undefined || subject === undefined || attributes === undefined) throw new Error("unexpected request");
  const changed = encodeDer(sequence(sequence(version, subject, decodeDer(weak, "key"), attributes), ...rest));
  t.throws(() => parseCsr(changed), { code: "weak_key" });
});

t.test("damaged requests are refused, never crash, and never verify with other content", async (t) => {
  const random = createSeededRandom(42);
  const good = createCsr({ key: makeKey("p256"), identity });
  for (let round = 0; round < 3000; round += 1) {
    const bytes = mutate(good, random);
    try {
      const parsed = parseCsr(bytes);
      if (parsed.identity !== identity) t.fail(`round ${round}: another identity verified: ${bytes.toString("hex")}`);
    } catch (error) {
      if (!(error instanceof CertError)) t.fail(`round ${round}: ${String(error)} for ${bytes.toString("hex")}`);
    }
  }
});
