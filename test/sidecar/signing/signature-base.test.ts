import { constants, createHmac, createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import t from "tap";
import { component, type SignedMessage, signatureBase } from "../../../sidecar/signing/signature-base.ts";
import { formatBareItem, formatInnerList, formatItem, formatMember, formatParameters } from "../../../sidecar/signing/structured-fields.ts";
import { ECC_P256_PRIVATE_KEY, ED25519_PRIVATE_KEY, RSA_PSS_PUBLIC_KEY, SHARED_SECRET, VECTORS, type Vector } from "./rfc9421-vectors.ts";

/** Checks with node:crypto alone, so that nothing of ours vouches for itself. */
function verifies({ algorithm }: Vector, base: string, signature: Buffer): boolean {
  const bytes = Buffer.from(base);
  switch (algorithm) {
    case "rsa-pss-sha512":
      return verify("sha512", bytes, { key: RSA_PSS_PUBLIC_KEY, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 64 }, signature);
    case "ecdsa-p256-sha256":
      return verify("sha256", bytes, { key: createPublicKey(ECC_P256_PRIVATE_KEY), dsaEncoding: "ieee-p1363" }, signature);
    case "hmac-sha256":
      return createHmac("sha256", Buffer.from(SHARED_SECRET, "base64")).update(bytes).digest().equals(signature);
    case "ed25519":
      return verify(null, bytes, createPublicKey(ED25519_PRIVATE_KEY), signature);
  }
}

for (const vector of VECTORS) {
  t.test(`RFC 9421 ${vector.section}: the same base, the same input, and the published signature verifies`, async (t) => {
    const { base, signatureParams } = signatureBase(vector.message, vector.components, vector.parameters);
    t.equal(base, [...vector.lines, `"@signature-params": ${signatureParams}`].join("\n"));
    t.equal(formatMember(vector.label, signatureParams), vector.input);
    t.ok(verifies(vector, base, Buffer.from(vector.signature, "base64")));
    t.notOk(verifies(vector, `${base} `, Buffer.from(vector.signature, "base64")));
  });
}

t.test("RFC 9421 B.2.5 and B.2.6: deterministic signatures come out as published, B.2.4 makes one that verifies", async (t) => {
  for (const vector of VECTORS) {
    const bytes = Buffer.from(signatureBase(vector.message, vector.components, vector.parameters).base);
    if (vector.algorithm === "hmac-sha256") {
      t.equal(createHmac("sha256", Buffer.from(SHARED_SECRET, "base64")).update(bytes).digest("base64"), vector.signature);
    } else if (vector.algorithm === "ed25519") {
      t.equal(sign(null, bytes, createPrivateKey(ED25519_PRIVATE_KEY)).toString("base64"), vector.signature);
    } else if (vector.algorithm === "ecdsa-p256-sha256") {
      const made = sign("sha256", bytes, { key: createPrivateKey(ECC_P256_PRIVATE_KEY), dsaEncoding: "ieee-p1363" });
      t.ok(verifies(vector, bytes.toString(), made));
    }
  }
});

const REQUEST: SignedMessage = {
  kind: "request",
  method: "GET",
  scheme: "http",
  authority: "Example.COM:80",
  target: "?a=b%20c&d=1&d=2",
  headers: ["X-A", " 1 ", "x-a", "2", "X-Empty", ""],
};
const baseOf = (name: string, parameters: [string, string][] = []) =>
  signatureBase(REQUEST, [component(name, parameters)], []).base.split("\n")[0];

t.test("components of RFC 9421 2.1 and 2.2", async (t) => {
  t.equal(baseOf("x-a"), '"x-a": 1, 2', "several values are trimmed and joined");
  t.equal(baseOf("x-empty"), '"x-empty": ');
  t.equal(baseOf("@authority"), '"@authority": example.com', "lower case, without the default port");
  t.equal(baseOf("@path"), '"@path": /', "an empty path is /");
  t.equal(baseOf("@query"), '"@query": ?a=b%20c&d=1&d=2');
  t.equal(baseOf("@scheme"), '"@scheme": http');
  t.equal(baseOf("@request-target"), '"@request-target": ?a=b%20c&d=1&d=2');
  t.equal(baseOf("@query-param", [["name", "a"]]), '"@query-param";name="a": b%20c');
  t.equal(
    signatureBase({ ...REQUEST, target: "/x", authority: "a:8080" }, [component("@target-uri")], []).base.split("\n")[0],
    '"@target-uri": http://a:8080/x',
  );
});

t.test("what cannot be signed without doubt throws", async (t) => {
  t.throws(() => baseOf("x-missing"), /no field x-missing/);
  t.throws(() => baseOf("@status"), /unknown component/);
  t.throws(() => baseOf("@query-param", [["name", "d"]]), /2 values/);
  t.throws(() => baseOf("@query-param", [["name", "none"]]), /0 values/);
  t.throws(() => baseOf("x-a", [["sf", "1"]]), /not supported/);
  t.throws(() => signatureBase(REQUEST, [component("x-a"), component("x-a")], []), /covered twice/);
  t.throws(() => signatureBase({ ...REQUEST, headers: ["x-a", 'a\n"@method": PUT'] }, [component("x-a")], []), /line break/);
  t.throws(() => signatureBase({ kind: "response", status: 200, headers: [] }, [component("@method")], []), /a response has no/);
});

t.test("structured fields as RFC 9651 prints them", async (t) => {
  t.equal(formatBareItem('a"b\\c'), '"a\\"b\\\\c"');
  t.equal(formatBareItem(Buffer.from("hi")), ":aGk=:");
  t.equal(formatBareItem(true), "?1");
  t.equal(formatBareItem(-42), "-42");
  t.equal(
    formatParameters([
      ["a", true],
      ["b", false],
      ["c", 1],
    ]),
    ";a;b=?0;c=1",
  );
  t.equal(formatItem({ value: "x", parameters: [["k", "v"]] }), '"x";k="v"');
  t.equal(formatInnerList([], []), "()");
  for (const bad of [1.5, 1e15, Number.NaN, "é", "a\n", "\x7f"]) t.throws(() => formatBareItem(bad), RangeError);
  for (const bad of ["", "A", "1a", "a b"]) t.throws(() => formatMember(bad, "1"), RangeError);
});
