import { execFileSync } from "node:child_process";
import { createHash, createPublicKey, diffieHellman, type KeyObject, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { derivePairwiseKey } from "../../../sidecar/signing/pairwise-key.ts";
import { createStaticIdentity, createThrowawayCa } from "../../support/throwaway-ca.ts";
import { requires } from "../../support/requires.ts";
import { CALL, createSigningPair, fieldOf, type Wire } from "./signing-pair.ts";

/** The base as anyone can write it down from RFC 9421 and the design, without our code. */
function baseByHand(wire: Wire): string {
  const input = fieldOf(wire, "signature-input").slice("remora=".length);
  const covered = (/^\(([^)]*)\)/.exec(input)?.[1] ?? "").split(" ").map((name) => name.slice(1, -1));
  const lines = covered.map((name) => {
    if (name === "@method") return `"@method": ${wire.method}`;
    if (name === "@authority") return `"@authority": ${wire.authority}`;
    if (name === "@path") return `"@path": ${wire.path}`;
    return `"${name}": ${fieldOf(wire, name)}`;
  });
  return [...lines, `"@signature-params": ${input}`].join("\n");
}

const signatureOf = (wire: Wire) => Buffer.from(fieldOf(wire, "signature").slice("remora=:".length, -1), "base64");

t.test("prints the fields of the design, in order", async (t) => {
  const pair = createSigningPair();
  const connection = pair.connect();
  const wire = pair.request(connection);
  t.strictSame(
    wire.headers.filter((_, index) => index % 2 === 0),
    [
      ...["content-type", "te", "x-remora-src", "x-remora-dst", "x-remora-body", "x-remora-cb"],
      ...["content-digest", "x-remora-cert", "signature-input", "signature", "grpc-timeout"],
    ],
  );
  t.equal(fieldOf(wire, "x-remora-cb"), connection.channelBinding.toString("base64url"));
  t.equal(fieldOf(wire, "content-digest"), `sha-256=:${createHash("sha256").update("hello").digest("base64")}:`);
  t.equal(new X509Certificate(Buffer.from(fieldOf(wire, "x-remora-cert"), "base64url")).subjectAltName, `URI:${pair.caller.identity}`);
  t.match(
    fieldOf(wire, "signature-input"),
    /^remora=\("@method" "@authority" "@path" "content-type" "x-remora-src" "x-remora-dst" "x-remora-body" "x-remora-cb" "content-digest"\);created=\d{10};expires=\d{10};nonce="[\w-]{22}";keyid="[\w-]{22}\.[\w-]{22}";alg="hmac-sha256";tag="remora-grpc-v1"$/,
  );
});

t.test("no two requests have the same nonce", async (t) => {
  const pair = createSigningPair();
  const connection = pair.connect();
  const nonces = Array.from(
    { length: 2_000 },
    () => /nonce="([^"]+)"/.exec(fieldOf(pair.request(connection, { body: null }), "signature-input"))?.[1],
  );
  t.equal(new Set(nonces).size, nonces.length);
});

t.test("mode mtls adds nothing", async (t) => {
  const pair = createSigningPair({ mode: "mtls" });
  t.strictSame(pair.request(pair.connect()).headers, ["content-type", CALL.contentType, "te", "trailers", "grpc-timeout", "1S"]);
});

t.test("both ends derive the same key, strangers and other keys another one", async (t) => {
  const ca = createThrowawayCa();
  const keyOf = (identity: string) => {
    const source = createStaticIdentity(ca, identity);
    const { messageKey, messageKeyId } = source.current();
    return { identity: source.identity, keyId: messageKeyId, privateKey: messageKey, publicKey: createPublicKey(messageKey) };
  };
  const [a, b, c, renewed] = [keyOf("x/a"), keyOf("x/b"), keyOf("x/c"), keyOf("x/b")];
  const bytes = (key: KeyObject) => key.export().toString("hex");
  t.equal(bytes(derivePairwiseKey(a, b)), bytes(derivePairwiseKey(b, a)));
  const others = [
    derivePairwiseKey(a, c),
    derivePairwiseKey(b, c),
    derivePairwiseKey(a, renewed),
    derivePairwiseKey(a, { ...b, identity: c.identity }),
  ];
  t.equal(new Set([derivePairwiseKey(a, b), ...others].map(bytes)).size, 5);
});

t.test("openssl agrees with an ecdsa signature", { skip: requires("openssl") }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "remora-signing-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const pair = createSigningPair({ mode: "sign" });
  const wire = pair.request(pair.connect());
  const der = Buffer.from(fieldOf(wire, "x-remora-cert"), "base64url");
  writeFileSync(join(folder, "key.pem"), new X509Certificate(der).publicKey.export({ type: "spki", format: "pem" }));
  writeFileSync(join(folder, "signature"), derSignature(signatureOf(wire)));
  const verify = (base: string) =>
    execFileSync("openssl", ["dgst", "-sha256", "-verify", join(folder, "key.pem"), "-signature", join(folder, "signature")], {
      input: base,
      timeout: 10_000,
    }).toString();
  t.match(verify(baseByHand(wire)), "Verified OK");
  t.throws(() => verify(`${baseByHand(wire)} `));
});

t.test("openssl agrees with an hmac signature, from the two message keys alone", { skip: requires("openssl") }, async (t) => {
  const pair = createSigningPair({ mode: "hmac" });
  const wire = pair.request(pair.connect());
  const [mine, theirs] = [pair.caller.current(), pair.callee.current()];
  // The caller's private and the callee's public key give the secret; HKDF and HMAC are openssl's.
  const secret = diffieHellman({ privateKey: mine.messageKey, publicKey: createPublicKey(theirs.messageKey) });
  const ends = [`${pair.caller.identity} ${mine.messageKeyId}`, `${pair.callee.identity} ${theirs.messageKeyId}`].sort();
  const info = Buffer.from(["remora-grpc-v1 hmac-sha256", ...ends].join("\n")).toString("hex");
  const kdf = [
    "kdf",
    "-keylen",
    "32",
    "-kdfopt",
    "digest:SHA256",
    "-kdfopt",
    `hexkey:${secret.toString("hex")}`,
    "-kdfopt",
    `hexinfo:${info}`,
    "-binary",
    "HKDF",
  ];
  const key = execFileSync("openssl", kdf, { timeout: 10_000 }).toString("hex");
  const mac = ["dgst", "-sha256", "-mac", "HMAC", "-macopt", `hexkey:${key}`, "-binary"];
  t.equal(
    execFileSync("openssl", mac, { input: baseByHand(wire), timeout: 10_000 }).toString("base64"),
    signatureOf(wire).toString("base64"),
  );
});

/** r and s as ASN.1, which openssl wants. */
function derSignature(raw: Buffer): Buffer {
  const integer = (bytes: Buffer) => {
    let from = 0;
    while (from < bytes.length - 1 && bytes[from] === 0) from += 1;
    const trimmed = bytes.subarray(from);
    const body = (trimmed[0] as number) >= 0x80 ? Buffer.concat([Buffer.of(0), trimmed]) : trimmed;
    return Buffer.concat([Buffer.of(2, body.length), body]);
  };
  const body = Buffer.concat([integer(raw.subarray(0, 32)), integer(raw.subarray(32))]);
  return Buffer.concat([Buffer.of(0x30, body.length), body]);
}
