// Another implementation, in another language and on another library, agrees with ours about the same signatures, both ways.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import t from "tap";
import { requires } from "../../../support/requires.ts";
import { CALL, createSigningPair, verdict, type Wire, withField } from "../signing-pair.ts";

const skip = requires("python3", "python3:cryptography");
const BODY = Buffer.from("hello");
const ALGORITHMS = { hmac: "hmac-sha256", sign: "ecdsa-p256-sha256" } as const;

type Pair = ReturnType<typeof createSigningPair>;
type Answer = boolean | [name: string, value: string][];

function ask(tasks: readonly object[]): Answer[] {
  const program = join(import.meta.dirname, "signatures.py");
  return JSON.parse(execFileSync("python3", [program], { input: JSON.stringify(tasks), timeout: 30_000 }).toString());
}

/** Both ends as the program wants them. Each private key goes only where it is needed. */
function endsOf(pair: Pair, holder: "src" | "dst") {
  const describe = (identity: Pair["caller"], holds: boolean) => ({
    certificate: identity.current().messageCertificate.toString("base64"),
    ...(holds ? { privateKey: identity.current().messageKey.export({ type: "pkcs8", format: "pem" }) } : {}),
  });
  return { src: describe(pair.caller, holder === "src"), dst: describe(pair.callee, holder === "dst") };
}

function pairsOf(flat: readonly string[]): [string, string][] {
  return flat.flatMap((name, index) => (index % 2 === 0 ? [[name, flat[index + 1] as string] as [string, string]] : []));
}

function verifyTask(pair: Pair, wire: Wire, body: Buffer = BODY) {
  const { method, authority, path, headers } = wire;
  return {
    do: "verify",
    request: { method, authority, path, fields: pairsOf(headers) },
    body: body.toString("base64"),
    ...endsOf(pair, "dst"),
  };
}

for (const mode of ["hmac", "sign"] as const) {
  t.test(`${mode}: Python accepts what we sign, and nothing that was changed`, { skip }, async (t) => {
    const pair = createSigningPair({ mode });
    const connection = pair.connect();
    const wire = pair.request(connection);
    const digest = `sha-256=:${randomBytes(32).toString("base64")}:`;
    const good = {
      unary: verifyTask(pair, wire),
      again: verifyTask(pair, pair.request(connection)),
      "an empty body": verifyTask(pair, pair.request(connection, { body: Buffer.alloc(0) }), Buffer.alloc(0)),
      "a stream": verifyTask(pair, pair.request(connection, { body: null })),
      "another method, on the default port": verifyTask(
        pair,
        pair.request(connection, { path: "/shop.Payments/Refund", authority: "Payments.shop:80" }),
      ),
    };
    const bad = {
      method: verifyTask(pair, { ...wire, method: "PUT" }),
      authority: verifyTask(pair, { ...wire, authority: "payments.shop:8081" }),
      path: verifyTask(pair, { ...wire, path: "/shop.Payments/Refund" }),
      body: verifyTask(pair, wire, Buffer.from("jello")),
      "content-type": verifyTask(pair, withField(wire, "content-type", "application/grpc+json")),
      "x-remora-src": verifyTask(pair, withField(wire, "x-remora-src", pair.callee.identity)),
      "x-remora-cb": verifyTask(pair, withField(wire, "x-remora-cb", randomBytes(32).toString("base64url"))),
      "content-digest": verifyTask(pair, withField(wire, "content-digest", digest)),
      signature: verifyTask(pair, withField(wire, "signature", `remora=:${randomBytes(mode === "hmac" ? 32 : 64).toString("base64")}:`)),
      "another's key": { ...verifyTask(pair, wire), ...endsOf(createSigningPair({ ca: pair.ca }), "dst") },
    };
    const names = [...Object.keys(good), ...Object.keys(bad)];
    const answers = ask([...Object.values(good), ...Object.values(bad)]);
    t.equal(answers.length, names.length);
    for (const [index, name] of names.entries()) t.equal(answers[index], name in good, name);
  });

  t.test(`${mode}: we accept what Python signs`, { skip }, async (t) => {
    const pair = createSigningPair({ mode, required: mode });
    const connection = pair.connect();
    const request = { method: CALL.method, authority: CALL.authority, path: CALL.path, fields: [["content-type", CALL.contentType]] };
    const task = {
      do: "sign",
      algorithm: ALGORITHMS[mode],
      request,
      binding: connection.channelBinding.toString("base64url"),
      ...endsOf(pair, "src"),
    };
    const nonce = () => randomBytes(16).toString("base64url");
    const [unary, stream] = ask([
      { ...task, nonce: nonce(), body: BODY.toString("base64") },
      { ...task, nonce: nonce(), body: null },
    ]).map((fields): Wire => ({ ...CALL, headers: ["content-type", CALL.contentType, ...(fields as [string, string][]).flat()] })) as [
      Wire,
      Wire,
    ];
    t.equal(verdict(pair.verify(connection, { ...unary, path: "/shop.Payments/Refund" })), "signature_invalid");
    t.equal(verdict(pair.verify(connection, unary)), "accepted digest");
    t.equal(verdict(pair.verify(connection, stream)), "accepted stream");
    t.equal(verdict(pair.verify(connection, stream)), "signature_replayed");
  });
}
