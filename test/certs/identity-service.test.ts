import { createHash, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import type { ServiceError } from "@grpc/grpc-js";
import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import type { Test } from "tap";
import t from "tap";
import type { CertifyRequest, CertifyResponse, TrustBundle, WatchTrustRequest } from "../../core/wire/identity.ts";
import { identityService } from "../../core/wire/load.ts";
import { createCsr, encodeCsr } from "../../core/x509/csr.ts";
import { checkMessageCertificate, checkPeerCertificate } from "../../core/x509/peer-check.ts";
import { toPem } from "../../core/x509/pem.ts";
import { openssl } from "../core/x509/openssl.ts";
import { requires } from "../support/requires.ts";
import type { Leaf } from "../support/throwaway-ca.ts";
import { BAD_LEAVES, createThrowawayCa, makeKey } from "../support/throwaway-ca.ts";
import type { ThrowawayControl, ThrowawayControlOptions } from "../support/throwaway-control.ts";
import { startThrowawayControl } from "../support/throwaway-control.ts";

const ids = createThrowawayCa();
const orders = ids.id("shop/orders");
const TIMEOUT_MS = 5000;

async function start(t: Test, options: Partial<ThrowawayControlOptions> = {}): Promise<ThrowawayControl> {
  const control = await startThrowawayControl({ ...options, stateDir: options.stateDir ?? t.testdir() });
  t.teardown(() => control.close());
  return control;
}

/** The CA of `control`'s own root is reached with this ThrowawayCa's root given by files. */
async function startWithGivenRoot(t: Test, changes: Partial<ThrowawayControlOptions> = {}): Promise<ThrowawayControl> {
  const folder = t.testdir({ "ca.crt": ids.rootPem, "ca.key": ids.rootKeyPem, state: {} });
  return start(t, {
    stateDir: `${folder}/state`,
    given: { certificateFile: `${folder}/ca.crt`, keyFile: `${folder}/ca.key`, rootFile: null },
    ...changes,
  });
}

function connect(t: Test, control: ThrowawayControl, own: Leaf | null = null): Client {
  const context = createSecureContext({
    ca: control.ca.trustBundle().rootsPem,
    ciphers: "DEFAULT@SECLEVEL=0", // lets a test load the 1024 bit key that the server must refuse
    ...(own === null ? {} : { key: own.keyPem, cert: own.certPem }),
  });
  const client = new Client(control.address, credentials.createFromSecureContext(context, { checkServerIdentity: () => undefined }), {
    "grpc.ssl_target_name_override": "control",
    "grpc.use_local_subchannel_pool": 1,
  });
  t.teardown(() => client.close());
  return client;
}

function request(changes: Partial<CertifyRequest> = {}): CertifyRequest {
  return {
    csr: createCsr({ key: makeKey("p256"), identity: orders }),
    messageCsr: createCsr({ key: makeKey("p256"), identity: orders }),
    ...changes,
  };
}

function certify(client: Client, message: CertifyRequest): Promise<CertifyResponse | ServiceError> {
  const method = identityService["Certify"]!;
  return new Promise((resolve) => {
    const deadline = { deadline: Date.now() + TIMEOUT_MS };
    client.makeUnaryRequest<CertifyRequest, CertifyResponse>(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      message,
      new Metadata(),
      deadline,
      (error, response) => resolve(error ?? response!),
    );
  });
}

const join = (control: ThrowawayControl) => control.ca.createJoinToken({ namespace: "shop", serviceAccount: "orders" });

t.test("a join token gives a TLS leaf and a message certificate that verify", async (t) => {
  const control = await start(t);
  const response = (await certify(connect(t, control), request({ joinToken: await join(control) }))) as CertifyResponse;
  const bundle = control.ca.trustBundle();
  const leaf = new X509Certificate(response.certificateChain[0]!);
  const rules = { trustDomain: "cluster.local", nowMs: Date.now() };
  t.equal(checkPeerCertificate(leaf, { ...rules, usage: "client" }), orders);
  t.equal(checkMessageCertificate(response.messageCertificate, { ...rules, roots: bundle.certificates }).identity, orders);
  t.match(response.trust, { trustDomain: "cluster.local", version: 1, roots: bundle.roots });
  t.equal(response.notAfterMs, leaf.validToDate.getTime());
  t.ok(Math.abs(leaf.validFromDate.getTime() - (Date.now() - 20_000)) < 5000, "back-dated by 20 s");
  t.ok(Math.abs(response.notAfterMs - (Date.now() + 86_400_000)) < 5000, "24 h");
  if (requires("openssl") === false) {
    const inputs = { "root.pem": bundle.rootsPem, "leaf.pem": toPem(leaf.raw, "CERTIFICATE") };
    t.match(openssl(["verify", "-x509_strict", "-CAfile", "root.pem", "-purpose", "sslclient", "leaf.pem"], inputs), { code: 0 });
  }
  const audit = control.lines.filter(({ msg }) => msg === "certificate issued");
  t.match(audit, [
    {
      serial: leaf.serialNumber.toLowerCase(),
      identity: orders,
      notAfter: leaf.validToDate.toISOString(),
      use: "tls",
      credential: "join_token",
      peer: /127\.0\.0\.1/,
    },
    { use: "message", identity: orders, credential: "join_token" },
  ]);
  t.match(await control.metrics.registry.getSingleMetricAsString("remora_certificates_issued_total"), /\{result="issued"\} 1/);
});

t.test("a replayed join token is refused, also when two calls race", async (t) => {
  const control = await start(t);
  const client = connect(t, control);
  const joinToken = await join(control);
  const answers = await Promise.all(Array.from({ length: 8 }, () => certify(client, request({ joinToken }))));
  t.equal(answers.filter((answer) => !("code" in answer)).length, 1);
  t.match(await certify(client, request({ joinToken })), {
    code: status.UNAUTHENTICATED,
    details: /credential_refused: join token .* was used before/,
  });
});

t.test("each wrong request is refused with its status, and leaves the token unspent", async (t) => {
  const control = await start(t);
  const client = connect(t, control);
  const joinToken = await join(control);
  const key = makeKey("p256");
  const mine = createCsr({ key, identity: orders });
  const other = createCsr({ key: makeKey("p256"), identity: ids.id("shop/payments") });
  const cases: readonly [string, Partial<CertifyRequest>, status, RegExp][] = [
    [
      "another identity",
      { csr: other },
      status.PERMISSION_DENIED,
      /identity_mismatch: csr is for .*payments, the credential is of .*orders/,
    ],
    ["another identity for messages", { messageCsr: other }, status.PERMISSION_DENIED, /message_csr is for/],
    [
      "another trust domain",
      { csr: createCsr({ key, identity: createThrowawayCa({ trustDomain: "evil.example" }).id("shop/orders") }) },
      status.PERMISSION_DENIED,
      /evil/,
    ],
    ["one key for both", { csr: mine, messageCsr: mine }, status.INVALID_ARGUMENT, /same key/],
    ["garbage", { csr: Buffer.from("garbage") }, status.INVALID_ARGUMENT, /malformed: csr/],
    ["nothing", { csr: Buffer.alloc(0) }, status.INVALID_ARGUMENT, /malformed: csr/],
    ["half a request", { messageCsr: mine.subarray(0, 50) }, status.INVALID_ARGUMENT, /malformed: message_csr/],
    ["oversized", { csr: Buffer.alloc(20_000, 0x30) }, status.INVALID_ARGUMENT, /20\d+ bytes/],
    ["two names", { csr: encodeCsr(key, [orders, ids.id("shop/payments")]) }, status.INVALID_ARGUMENT, /not_one_uri_san/],
    ["no name", { csr: encodeCsr(key, []) }, status.INVALID_ARGUMENT, /not_one_uri_san/],
    ["P-384", { csr: createCsr({ key: makeKey("p384"), identity: orders }) }, status.INVALID_ARGUMENT, /weak_key.*P-384/],
    ["RSA", { csr: createCsr({ key: makeKey("rsa-2048"), identity: orders }) }, status.INVALID_ARGUMENT, /weak_key.*RSA/],
  ];
  for (const [name, changes, code, details] of cases) {
    t.match(await certify(client, request({ joinToken, ...changes })), { code, details }, name);
  }
  const refusals = control.lines.filter(({ msg }) => msg === "certificate refused");
  t.equal(refusals.length, cases.length, "one line for each");
  t.match(refusals[0], { reason: "identity_mismatch", credential: "join_token", peer: /127\.0\.0\.1/, detail: /payments/ });
  t.notOk("code" in (await certify(client, request({ joinToken }))), "the token still works");
});

t.test("without a credential, or with a wrong one, nothing is signed", async (t) => {
  const control = await start(t);
  const client = connect(t, control);
  t.match(await certify(client, request()), { code: status.UNAUTHENTICATED, details: /no credential/ });
  t.match(await certify(client, request({ joinToken: "rmr1.x" })), { code: status.UNAUTHENTICATED, details: /not a join token/ });
  t.match(await certify(client, request({ serviceAccountToken: "abc" })), {
    code: status.UNAUTHENTICATED,
    details: /not run in Kubernetes/,
  });
  const heartbeat = await control.ca.createJoinToken({ namespace: "shop", serviceAccount: "orders", purpose: "heartbeat" });
  t.match(await certify(client, request({ joinToken: heartbeat })), { code: status.UNAUTHENTICATED, details: /is for heartbeat/ });
  t.equal(await control.ca.authenticate({ kind: "heartbeat_token", token: heartbeat }), orders);
});

t.test("a valid certificate renews itself, and only its own identity", async (t) => {
  const control = await startWithGivenRoot(t);
  const client = connect(t, control, ids.leaf("shop/orders"));
  t.notOk("code" in (await certify(client, request())));
  t.match(
    control.lines.findLast(({ msg }) => msg === "certificate issued"),
    { credential: "client_certificate" },
  );
  const csr = createCsr({ key: makeKey("p256"), identity: ids.id("shop/payments") });
  t.match(await certify(client, request({ csr })), { code: status.PERMISSION_DENIED });
});

t.test("a bad certificate renews nothing and watches nothing", async (t) => {
  const control = await startWithGivenRoot(t);
  const bad = [
    ...(Object.keys(BAD_LEAVES) as (keyof typeof BAD_LEAVES)[]).map((kind) => ids.badLeaf(kind, "shop/orders")),
    ids.messageCertificate("shop/orders"),
    null,
  ];
  for (const leaf of bad) {
    const client = connect(t, control, leaf);
    const name = leaf?.certificate.subjectAltName ?? "none";
    t.match(await certify(client, request()), { code: status.UNAUTHENTICATED }, name);
    t.match(await firstBundle(client), { code: status.UNAUTHENTICATED }, name);
  }
});

t.test("one identity cannot ask without end; others are not touched by it", async (t) => {
  const control = await startWithGivenRoot(t, { issueLimit: { burst: 20, intervalMs: 3000 } });
  const client = connect(t, control, ids.leaf("shop/orders"));
  const answers = await Promise.all(Array.from({ length: 25 }, () => certify(client, request())));
  t.equal(answers.filter((answer) => !("code" in answer)).length, 20);
  t.match(
    answers.find((answer) => "code" in answer),
    { code: status.RESOURCE_EXHAUSTED, details: /rate_limited.*too often; next in 3 s/ },
  );
  const identity = ids.id("shop/payments");
  const other = request({ csr: createCsr({ key: makeKey("p256"), identity }), messageCsr: createCsr({ key: makeKey("p256"), identity }) });
  t.notOk("code" in (await certify(connect(t, control, ids.leaf("shop/payments")), other)));
});

t.test("the trust bundle comes at once to those who have a certificate", async (t) => {
  const control = await startWithGivenRoot(t);
  t.match(await firstBundle(connect(t, control, ids.leaf("shop/orders"))), {
    trustDomain: "cluster.local",
    version: 1,
    roots: [ids.root.raw],
  });
});

t.test("a restart keeps the root, and a lost one is another mesh", async (t) => {
  const stateDir = t.testdir();
  const pinOf = async () => {
    const control = await startThrowawayControl({ stateDir });
    await control.close();
    return control.ca.trustBundle().pins[0];
  };
  const pin = await pinOf();
  t.equal(await pinOf(), pin);
});

t.test("the control plane's chain ends in its root, and serves only with what its root signed", async (t) => {
  const control = await start(t);
  const own = control.ca.issueServerCredentials(ids.id("remora-system/remora-control"));
  const chain = own.tls().cert.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  t.equal(chain.length, 2);
  const root = new X509Certificate(chain[1]!);
  t.equal(`sha256:${createHash("sha256").update(root.raw).digest("hex")}`, control.ca.trustBundle().pins[0]);
  const leaf = new X509Certificate(chain[0]!);
  t.equal(leaf.subjectAltName, "URI:spiffe://cluster.local/ns/remora-system/sa/remora-control");
  t.ok(leaf.verify(root.publicKey));
});

function firstBundle(client: Client): Promise<TrustBundle | ServiceError> {
  const method = identityService["WatchTrust"]!;
  return new Promise((resolve) => {
    const stream = client.makeServerStreamRequest<WatchTrustRequest, TrustBundle>(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      {},
      { deadline: Date.now() + TIMEOUT_MS },
    );
    stream.on("data", (bundle: TrustBundle) => {
      resolve(bundle);
      stream.cancel();
    });
    stream.on("error", (error: ServiceError) => resolve(error));
  });
}
