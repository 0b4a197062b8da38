import { randomBytes } from "node:crypto";
import t from "tap";
import { RESCUE } from "../../../sidecar/rescue.ts";
import { SIGNING_MODES } from "../../../sidecar/signing/profile.ts";
import { createVerifierState, digestMatches } from "../../../sidecar/signing/verifier.ts";
import { createStaticIdentity, createThrowawayCa } from "../../support/throwaway-ca.ts";
import { createSigningPair, fieldOf, verdict, type Wire, withField } from "./signing-pair.ts";

t.test("a signed request is accepted, and its digest is that of the body alone", async (t) => {
  for (const mode of ["hmac", "sign"] as const) {
    const pair = createSigningPair({ mode, required: mode });
    const connection = pair.connect();
    const result = pair.verify(connection, pair.request(connection));
    t.equal(verdict(result), "accepted digest", mode);
    if (!result.ok || result.body !== "digest") return;
    t.ok(digestMatches(result.expected, Buffer.from("hello")));
    t.notOk(digestMatches(result.expected, Buffer.from("hellp")));
    t.notOk(digestMatches(result.expected, Buffer.alloc(0)));
    t.equal(verdict(pair.verify(connection, pair.request(connection, { body: null }))), "accepted stream");
    t.equal(
      verdict(pair.verify(connection, pair.request(connection, { body: Buffer.alloc(0) }))),
      "accepted digest",
      "an empty body is a body",
    );
  }
});

t.test("a body of 64 KiB is digested, a larger one is a stream", async (t) => {
  const pair = createSigningPair();
  const connection = pair.connect();
  t.equal(verdict(pair.verify(connection, pair.request(connection, { body: Buffer.alloc(65_536) }))), "accepted digest");
  t.equal(verdict(pair.verify(connection, pair.request(connection, { body: Buffer.alloc(65_537) }))), "accepted stream");
});

t.test("field names may come in any case, other fields in between", async (t) => {
  const pair = createSigningPair();
  const connection = pair.connect();
  const wire = pair.request(connection);
  const shouted = { ...wire, headers: wire.headers.map((text, index) => (index % 2 === 0 ? text.toUpperCase() : text)) };
  t.equal(verdict(pair.verify(connection, { ...shouted, headers: ["a", "b", ...shouted.headers, "c", "d"] })), "accepted digest");
});

t.test("changing anything that is covered is noticed", async (t) => {
  const changes: Record<string, (wire: Wire) => Wire> = {
    method: (wire) => ({ ...wire, method: "PUT" }),
    path: (wire) => ({ ...wire, path: "/shop.Payments/Refund" }),
    "path with a query": (wire) => ({ ...wire, path: `${wire.path}?a=b` }),
    "path with a fragment": (wire) => ({ ...wire, path: `${wire.path}#a` }),
    authority: (wire) => ({ ...wire, authority: "other.shop:8080" }),
    "port of the authority": (wire) => ({ ...wire, authority: "payments.shop:8081" }),
    "content-type": (wire) => withField(wire, "content-type", "application/grpc+json"),
    "no content-type": (wire) => withField(wire, "content-type", null),
    "x-remora-src": (wire) => withField(wire, "x-remora-src", "spiffe://cluster.local/ns/shop/sa/admin"),
    "x-remora-dst": (wire) => withField(wire, "x-remora-dst", "spiffe://cluster.local/ns/shop/sa/other"),
    "x-remora-body": (wire) => withField(wire, "x-remora-body", "stream"),
    "no x-remora-body": (wire) => withField(wire, "x-remora-body", null),
    "x-remora-cb": (wire) => withField(wire, "x-remora-cb", randomBytes(32).toString("base64url")),
    "no x-remora-cb": (wire) => withField(wire, "x-remora-cb", null),
    "content-digest": (wire) => withField(wire, "content-digest", `sha-256=:${randomBytes(32).toString("base64")}:`),
    "no content-digest": (wire) => withField(wire, "content-digest", null),
    "half a signature": (wire) => withField(wire, "signature", null),
    "the other half": (wire) => withField(wire, "signature-input", null),
    "one bit of the signature": (wire) =>
      withField(
        wire,
        "signature",
        fieldOf(wire, "signature").replace(/:(.)/, (_, first: string) => `:${first === "A" ? "B" : "A"}`),
      ),
    created: (wire) =>
      withField(
        wire,
        "signature-input",
        fieldOf(wire, "signature-input").replace(/created=(\d+)(\d)/, (_, a, b) => `created=${a}${(Number(b) + 1) % 10}`),
      ),
    nonce: (wire) =>
      withField(
        wire,
        "signature-input",
        fieldOf(wire, "signature-input").replace(/nonce="(.)/, (_, first: string) => `nonce="${first === "-" ? "A" : "-"}`),
      ),
    "line break in the path": (wire) => ({ ...wire, path: `/a\n"x": b` }),
  };
  for (const mode of ["hmac", "sign"] as const) {
    for (const [what, change] of Object.entries(changes)) {
      const pair = createSigningPair({ mode });
      const connection = pair.connect();
      const tampered = verdict(pair.verify(connection, change(pair.request(connection))));
      t.ok(["signature_invalid", "signature_expired"].includes(tampered), `${mode}, ${what}: ${tampered}`);
    }
  }
});

t.test("a second field of the profile is refused, whichever comes first", async (t) => {
  const pair = createSigningPair();
  const connection = pair.connect();
  for (const name of [
    "content-type",
    "content-digest",
    "signature",
    "signature-input",
    "x-remora-src",
    "x-remora-dst",
    "x-remora-body",
    "x-remora-cb",
    "x-remora-cert",
  ]) {
    const wire = pair.request(connection);
    const value = fieldOf(wire, name);
    t.equal(
      verdict(pair.verify(connection, { ...wire, headers: [name.toUpperCase(), value, ...wire.headers] })),
      "signature_invalid",
      name,
    );
    t.equal(verdict(pair.verify(connection, { ...wire, headers: [...wire.headers, name, "x"] })), "signature_invalid", name);
  }
});

t.test("no signature at all is said to be missing", async (t) => {
  const pair = createSigningPair();
  const connection = pair.connect();
  t.equal(
    verdict(pair.verify(connection, { method: "POST", authority: "a", path: "/", headers: ["content-type", "application/grpc"] })),
    "signature_missing",
  );
});

t.test("a request is good once", async (t) => {
  const pair = createSigningPair();
  const connection = pair.connect();
  const wire = pair.request(connection);
  t.equal(verdict(pair.verify(connection, wire)), "accepted digest");
  t.equal(verdict(pair.verify(connection, wire)), "signature_replayed");
  pair.clock.advance(49_000);
  t.equal(verdict(pair.verify(connection, wire)), "signature_replayed", "as long as it would be in time");
  pair.clock.advance(2_000);
  t.equal(verdict(pair.verify(connection, wire)), "signature_expired");
});

t.test("a refused request does not use up its nonce", async (t) => {
  const pair = createSigningPair();
  const connection = pair.connect();
  const wire = pair.request(connection);
  t.equal(verdict(pair.verify(connection, { ...wire, method: "PUT" })), "signature_invalid");
  t.equal(verdict(pair.verify(connection, wire)), "accepted digest");
});

t.test("a captured request is worthless on any other connection", async (t) => {
  const pair = createSigningPair();
  const [first, second] = [pair.connect(), pair.connect()];
  t.equal(verdict(pair.verify(second, pair.request(first))), "signature_invalid");
  const empty = { channelBinding: Buffer.alloc(0), state: createVerifierState() };
  t.throws(() => pair.request(empty), RangeError, "a connection without a binding can't be signed for");
  const unbound = withField(pair.request(first), "x-remora-cb", "");
  t.equal(verdict(pair.verify(empty, unbound)), "signature_invalid", "and takes no signature");
});

t.test("another workload cannot use it, nor can the callee send it back", async (t) => {
  const pair = createSigningPair();
  const connection = pair.connect();
  const wire = pair.request(connection);
  const stranger = createStaticIdentity(pair.ca, "shop/stranger");
  t.equal(verdict(pair.verify({ ...connection, state: createVerifierState() }, wire, stranger.identity)), "signature_invalid");
  const swapped = withField(withField(wire, "x-remora-src", pair.callee.identity), "x-remora-dst", pair.caller.identity);
  t.equal(verdict(pair.verify(connection, swapped)), "signature_invalid");
  t.equal(verdict(pair.verify(connection, swapped, pair.callee.identity)), "signature_invalid");
});

t.test("time: skew of 20 s both ways and 30 s of life, to the millisecond", async (t) => {
  for (const mode of ["hmac", "sign"] as const) {
    const pair = createSigningPair({ mode });
    const connection = pair.connect();
    pair.clock.stepWall(1_000 - (pair.clock.nowMs() % 1_000)); // `created` has whole seconds
    const at = (offsetMs: number) => {
      const wire = pair.request(connection);
      pair.clock.stepWall(offsetMs);
      const said = verdict(pair.verify(connection, wire));
      pair.clock.stepWall(-offsetMs);
      return said;
    };
    t.equal(at(-20_000), "accepted digest", "the caller's clock is ahead");
    t.equal(at(-20_001), "signature_expired");
    t.equal(at(50_000), "accepted digest", "the caller's clock is behind, or the request was long on its way");
    t.equal(at(50_001), "signature_expired");
  }
});

t.test("a replay is known to the last millisecond in which it would be in time", async (t) => {
  const pair = createSigningPair();
  const connection = pair.connect();
  pair.clock.stepWall(1_000 - (pair.clock.nowMs() % 1_000));
  const others = () => pair.verify(connection, pair.request(connection));
  const wire = pair.request(connection);
  t.equal(verdict(pair.verify(connection, wire)), "accepted digest");
  for (const stepMs of [20_000, 29_999, 1]) {
    pair.clock.advance(stepMs);
    for (let count = 0; count < 3; count += 1) others(); // each may begin another generation
    t.equal(verdict(pair.verify(connection, wire)), "signature_replayed");
  }
  pair.clock.advance(1);
  t.equal(verdict(pair.verify(connection, wire)), "signature_expired");
});

t.test("a signature says itself when it ends, but never more than 30 s after it was made", async (t) => {
  const pair = createSigningPair({ mode: "hmac" });
  const connection = pair.connect();
  const wire = pair.request(connection);
  const expiring = (change: (createdS: number) => number) =>
    withField(
      wire,
      "signature-input",
      fieldOf(wire, "signature-input").replace(
        /created=(\d+);expires=\d+/,
        (_, created) => `created=${created};expires=${change(Number(created))}`,
      ),
    );
  for (const seconds of [31, 3_600, 0, -1]) {
    t.match(
      pair.verify(
        connection,
        expiring((created) => created + seconds),
      ),
      { ok: false, detail: "expires is not within 30 s of created" },
    );
  }
});

t.test("the verifier's mode decides what is enough", async (t) => {
  const outcome = { mtls: {}, hmac: {}, sign: {} } as Record<string, Record<string, string>>;
  for (const required of SIGNING_MODES) {
    for (const mode of SIGNING_MODES) {
      const pair = createSigningPair({ mode, required });
      const connection = pair.connect();
      outcome[required]![mode] = verdict(pair.verify(connection, pair.request(connection)));
    }
  }
  t.strictSame(outcome, {
    mtls: { mtls: "accepted stream", hmac: "accepted stream", sign: "accepted stream" },
    hmac: { mtls: "signature_missing", hmac: "accepted digest", sign: "accepted digest" },
    sign: { mtls: "signature_missing", hmac: "signature_invalid", sign: "accepted digest" },
  });
});

t.test("without the peer's message certificate hmac falls back to sign", async (t) => {
  const pair = createSigningPair({ mode: "hmac", required: "hmac" });
  const connection = pair.connect();
  const wire = pair.request(connection, { dstMessageCertificateKey: null });
  t.match(fieldOf(wire, "signature-input"), 'alg="ecdsa-p256-sha256"');
  t.equal(verdict(pair.verify(connection, wire)), "accepted digest");
});

t.test("the certificate is needed once on a connection, or anywhere before", async (t) => {
  const pair = createSigningPair();
  const unknown = pair.connect();
  t.equal(verdict(pair.verify(unknown, pair.request(unknown, { includeCertificate: false }))), "signature_invalid");
  const known = pair.connect();
  t.equal(verdict(pair.verify(known, pair.request(known))), "accepted digest");
  t.equal(verdict(pair.verify(known, pair.request(known, { includeCertificate: false }))), "accepted digest");
  t.equal(
    verdict(pair.verify(unknown, pair.request(unknown, { includeCertificate: false }))),
    "accepted digest",
    "seen on the other connection",
  );
});

t.test("only the peer's own message certificate counts", async (t) => {
  const pair = createSigningPair();
  const other = createStaticIdentity(pair.ca, "shop/other");
  const foreign = createStaticIdentity(createThrowawayCa(), "shop/web");
  const tls = pair.caller.current().leaf.raw;
  for (const [what, text] of [
    ["another workload's", other.current().messageCertificate.toString("base64url")],
    ["another authority's", foreign.current().messageCertificate.toString("base64url")],
    ["the TLS leaf", tls.toString("base64url")],
    ["garbage", randomBytes(300).toString("base64url")],
    ["nothing", ""],
    ["far too long", "A".repeat(100_000)],
  ] as const) {
    const connection = pair.connect();
    t.equal(verdict(pair.verify(connection, withField(pair.request(connection), "x-remora-cert", text))), "signature_invalid", what);
    t.equal(verdict(pair.verify(connection, pair.request(connection))), "accepted digest", "and the connection goes on");
  }
});

t.test("a renewed caller goes on with its new key on the same connection", async (t) => {
  const pair = createSigningPair();
  const connection = pair.connect();
  const before = pair.signer.keyId();
  t.equal(verdict(pair.verify(connection, pair.request(connection))), "accepted digest");
  pair.caller.renew();
  t.not(pair.signer.keyId(), before, "the signer says so, that the certificate is sent again");
  t.equal(verdict(pair.verify(connection, pair.request(connection))), "accepted digest");
  t.equal(verdict(pair.verify(connection, pair.request(connection, { includeCertificate: false }))), "accepted digest");
});

t.test("a renewed callee still knows its previous key until that ends, and none before it", async (t) => {
  const pair = createSigningPair();
  const connection = pair.connect();
  const old = pair.certificates.ofDer(pair.callee.current().messageCertificate, pair.callee.identity);
  pair.callee.renew();
  t.equal(verdict(pair.verify(connection, pair.request(connection, { dstMessageCertificateKey: old }))), "accepted digest");
  t.equal(verdict(pair.verify(connection, pair.request(connection))), "accepted digest");
  pair.callee.renew();
  t.equal(verdict(pair.verify(connection, pair.request(connection, { dstMessageCertificateKey: old }))), "signature_invalid");
});

t.test("a removed root stops counting at once, an added one disturbs nobody", async (t) => {
  const pair = createSigningPair();
  const connection = pair.connect();
  const [root] = pair.callee.current().roots;
  const other = createThrowawayCa().root;
  t.equal(verdict(pair.verify(connection, pair.request(connection))), "accepted digest");
  pair.trustRoots([root!, other]);
  t.equal(verdict(pair.verify(connection, pair.request(connection, { includeCertificate: false }))), "accepted digest");
  pair.trustRoots([other]);
  const old = { dstMessageCertificateKey: null };
  t.equal(verdict(pair.verify(connection, pair.request(connection, { ...old, includeCertificate: false }))), "signature_invalid");
  t.equal(verdict(pair.verify(connection, pair.request(connection, old))), "signature_invalid");
});

t.test("an expired message certificate is no key", async (t) => {
  const pair = createSigningPair();
  const connection = pair.connect();
  t.equal(verdict(pair.verify(connection, pair.request(connection))), "accepted digest");
  pair.clock.advance(25 * 3_600_000);
  t.equal(verdict(pair.verify(connection, pair.request(connection))), "signature_invalid");
  t.equal(verdict(pair.verify(connection, pair.request(connection, { includeCertificate: false }))), "signature_invalid");
});

t.test("at the bound of the nonce memory: as RESOURCE_EXHAUSTED, and only for true signatures", async (t) => {
  const pair = createSigningPair({ maxNonces: 10 });
  const connection = pair.connect();
  while (pair.verify(connection, pair.request(connection)).ok);
  t.match(pair.verify(connection, pair.request(connection)), { ok: false, reason: "overloaded" });
  t.equal(RESCUE.overloaded.grpcStatus, 8);
  t.equal(verdict(pair.verify(connection, { ...pair.request(connection), method: "PUT" })), "signature_invalid");
});

t.test("when nonces cannot be remembered, requests are refused, and accepted again later", async (t) => {
  const pair = createSigningPair({ maxNonces: 50 });
  const connection = pair.connect();
  const outcomes = new Map<string, number>();
  for (let count = 0; count < 200; count += 1) {
    const said = verdict(pair.verify(connection, pair.request(connection)));
    outcomes.set(said, (outcomes.get(said) ?? 0) + 1);
  }
  t.strictSame([...outcomes.keys()], ["accepted digest", "overloaded"]);
  t.ok((outcomes.get("accepted digest") ?? 0) <= 100, "two generations");
  pair.clock.advance(51_000);
  t.equal(verdict(pair.verify(connection, pair.request(connection))), "accepted digest");
});
