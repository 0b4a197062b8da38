import { randomBytes } from "node:crypto";
import t from "tap";
import {
  type BodyKind,
  basePieces,
  COVERED,
  formatBeforeNonce,
  formatBehindNonce,
  formatDigest,
  formatSignature,
  formatTimes,
  isDigest,
  parseSignature,
  parseSignatureInput,
  profileBase,
  type SigningAlgorithm,
} from "../../../sidecar/signing/profile.ts";
import { component, signatureBase } from "../../../sidecar/signing/signature-base.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";
import { createSigningPair, fieldOf, verdict, withField } from "./signing-pair.ts";

const id = () => randomBytes(16).toString("base64url");
const HEAD = {
  method: "POST",
  authority: "Payments.Shop:80",
  path: "/shop.Payments/Charge",
  contentType: "application/grpc",
  src: "spiffe://cluster.local/ns/shop/sa/web",
  dst: "spiffe://cluster.local/ns/shop/sa/payments",
};

function inputOf(body: BodyKind, nonce: string, keyId: string, algorithm: SigningAlgorithm, createdS = 1_800_000_000): string {
  return formatBeforeNonce(body, formatTimes(createdS)) + nonce + formatBehindNonce(keyId, algorithm);
}

t.test("the profile's base is what RFC 9421 builds for the same components", async (t) => {
  for (const body of ["stream", "digest"] as const) {
    const digest = body === "stream" ? "" : formatDigest(randomBytes(32).toString("base64"));
    const [keyId, nonce, binding] = [`${id()}.${id()}`, id(), randomBytes(32).toString("base64url")];
    const names = [...COVERED[body].matchAll(/"([^"]+)"/g)].map((match) => component(match[1] as string));
    const general = signatureBase(
      {
        kind: "request",
        method: HEAD.method,
        scheme: "http",
        authority: HEAD.authority,
        target: HEAD.path,
        headers: [
          ...["Content-Type", HEAD.contentType, "X-Remora-Src", HEAD.src, "X-Remora-Dst", HEAD.dst, "X-Remora-Body", body],
          ...["X-Remora-Cb", binding, ...(body === "stream" ? [] : ["Content-Digest", digest])],
        ],
      },
      names,
      [
        ["created", 1_800_000_000],
        ["expires", 1_800_000_030],
        ["nonce", nonce],
        ["keyid", keyId],
        ["alg", "hmac-sha256"],
        ["tag", "remora-grpc-v1"],
      ],
    );
    t.equal(inputOf(body, nonce, keyId, "hmac-sha256"), `remora=${general.signatureParams}`);
    const pieces = basePieces(HEAD, body, keyId, "hmac-sha256");
    t.equal(profileBase(pieces, { binding, digest, times: formatTimes(1_800_000_000), nonce, nonceFrom: 0 }), general.base);
  }
});

t.test("what is printed reads back, whatever was read before", async (t) => {
  for (const body of ["stream", "digest"] as const) {
    for (const algorithm of ["hmac-sha256", "ecdsa-p256-sha256"] as const) {
      const srcKeyId = id();
      const dstKeyId = algorithm === "hmac-sha256" ? id() : "";
      const keyId = dstKeyId === "" ? srcKeyId : `${srcKeyId}.${dstKeyId}`;
      const print = (nonce: string, createdS = 1_800_000_000) => inputOf(body, nonce, keyId, algorithm, createdS);
      const [first, second] = [id(), id()];
      const read = parseSignatureInput(print(first));
      t.match(read, {
        ...{ body, created: 1_800_000_000, expires: 1_800_000_030, times: "1800000000;expires=1800000030", value: print(first) },
        ...{ srcKeyId, dstKeyId, keyId, algorithm },
      });
      t.strictSame(parseSignatureInput(print(second), read), parseSignatureInput(print(second)));
      t.strictSame(parseSignatureInput(print(second, 1_800_000_001), read), parseSignatureInput(print(second, 1_800_000_001)));
    }
  }
  const bytes = randomBytes(64);
  const [long, short] = [bytes.toString("base64"), bytes.subarray(32).toString("base64")];
  t.equal(parseSignature(formatSignature(long), "ecdsa-p256-sha256"), long);
  t.equal(parseSignature(formatSignature(short), "hmac-sha256"), short);
  t.ok(isDigest(formatDigest(short)));
});

t.test("nothing but the profile's one form is read", async (t) => {
  const good = inputOf("digest", id(), `${id()}.${id()}`, "hmac-sha256");
  const last = parseSignatureInput(good);
  t.ok(last);
  const bad: Record<string, string> = {
    empty: "",
    "another label": good.replace("remora=", "sig1="),
    "a second label": `${good}, sig2=()`,
    "the same label twice": `${good}, ${good}`,
    "a space before": ` ${good}`,
    "a space behind": `${good} `,
    "a component less": good.replace(' "@path"', ""),
    "a component more": good.replace('"x-remora-cb"', '"x-remora-cb" "date"'),
    "components in another order": good.replace('"@method" "@authority"', '"@authority" "@method"'),
    "a component with a parameter": good.replace('"@path"', '"@path";req'),
    "no expires": good.replace(/;expires=\d+/, ""),
    "parameters in another order": good.replace(/(;created=\d+)(;expires=\d+)/, "$2$1"),
    "a negative time": good.replace("created=1800000000", "created=-800000000"),
    "a time with a fraction": good.replace("created=1800000000", "created=18000000.0"),
    "a short nonce": good.replace(/nonce="./, 'nonce="'),
    "a long nonce": good.replace('nonce="', 'nonce="A'),
    "another alphabet": good.replace(/nonce="./, 'nonce="+'),
    "half a key id": good.replace(/\.[^.]{22}"/, '"'),
    "another algorithm": good.replace("hmac-sha256", "hmac-sha512"),
    "the other algorithm": good.replace("hmac-sha256", "ecdsa-p256-sha256"),
    "another tag": good.replace("grpc-v1", "grpc-v2"),
    "one parameter more": `${good};x=1`,
  };
  for (const [what, text] of Object.entries(bad)) {
    t.equal(parseSignatureInput(text), null, what);
    t.equal(parseSignatureInput(text, last), null, `${what}, after a good one`);
  }
  for (const text of ["", "remora=::", "remora=:AAAA:", `remora=:${"A".repeat(44)}`, `x=:${"A".repeat(43)}=:`]) {
    t.equal(parseSignature(text, "hmac-sha256"), null, text);
  }
  const digest = `sha-256=:${randomBytes(32).toString("base64")}:`;
  t.ok(isDigest(digest));
  for (const text of ["", digest.slice(0, -1), `${digest}, ${digest}`, digest.replace("256", "512")]) t.notOk(isDigest(text), text);
});

t.test("damaged signatures crash nothing and pass nowhere", async (t) => {
  const random = createSeededRandom(5);
  const pair = createSigningPair();
  const connection = pair.connect();
  const alphabet = ['"', ";", "=", "(", ")", ":", ",", " ", "\\", "A", "0", "é", "\0", "remora", "@path", "created", "=:"];
  let passed = 0;
  for (let round = 0; round < 4_000; round += 1) {
    const wire = pair.request(connection, { body: null });
    const name = random.pick([
      "signature-input",
      "signature",
      "x-remora-cert",
      "x-remora-cb",
      "x-remora-src",
      "x-remora-body",
      "content-type",
    ]);
    const value = fieldOf(wire, name);
    const from = random.below(value.length + 1);
    const cut = random.below(3);
    const damaged = value.slice(0, from) + (random.below(2) === 0 ? random.pick(alphabet) : "") + value.slice(from + cut);
    const said = verdict(pair.verify(connection, withField(wire, name, damaged)));
    // The certificate is only looked at when it is not the known one, and base64 may be spelled in more than one way.
    if (said.startsWith("accepted") && damaged !== value && name !== "x-remora-cert") {
      passed += 1;
      t.comment(`${name}: ${JSON.stringify(damaged)} for ${JSON.stringify(value)}`);
    }
  }
  t.equal(passed, 0);
});
