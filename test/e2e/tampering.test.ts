// A man in the middle who even has a certificate of the mesh sends gRPC to an injected pod. What was not signed as it arrives is answered UNAUTHENTICATED,
// and the app never sees it (design 9).
import { randomBytes } from "node:crypto";
import { type ClientHttp2Session, connect, constants } from "node:http2";
import * as grpc from "@grpc/grpc-js";
import t, { type Test } from "tap";
import { type Clock, systemClock } from "../../core/clock.ts";
import { silentLogger } from "../../core/log.ts";
import { createMetrics } from "../../core/metrics.ts";
import { type SpiffeId, spiffeId } from "../../core/spiffe.ts";
import { registryService } from "../../core/wire/load.ts";
import type { MessageCertificate } from "../../core/x509/peer-check.ts";
import type { IdentitySource } from "../../sidecar/identity/identity-source.ts";
import { startIdentity } from "../../sidecar/identity/start-identity.ts";
import { createMessageCertificates } from "../../sidecar/signing/message-certificates.ts";
import { createSigner } from "../../sidecar/signing/signer.ts";
import { createMeshDialer, type MeshConnection } from "../../sidecar/transport/mesh-dial.ts";
import { requires } from "../support/requires.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import { ECHO } from "./manifests.ts";
import { until } from "./until.ts";

const skip = requires("root", "ip", "iptables");
// Several processes per pod: on a busy machine of two cores this takes its time.
t.setTimeout(300_000);
const PORT = 9090;
const AUTHORITY = "echo.shop:9090";
const PATH = "/remora.test.Echo/Unary";
const UNAUTHENTICATED = 16;
const MALLORY = spiffeId({ trustDomain: "cluster.local", namespace: "shop", serviceAccount: "mallory" });
const ECHO_ID = spiffeId({ trustDomain: "cluster.local", namespace: "shop", serviceAccount: "echo" });

interface Call {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  /** Flat, as the signer gives them. */
  readonly fields: readonly string[];
  readonly body: Buffer;
}

/** One line that changes one thing of a request that was signed correctly. */
type Tampering = readonly [what: string, change: (call: Call) => Call];

const TAMPERINGS: readonly Tampering[] = [
  ["the method", (call) => ({ ...call, method: "PUT" })],
  ["the path", (call) => ({ ...call, path: "/remora.test.Echo/Fail" })],
  ["a query after the path", (call) => ({ ...call, path: `${call.path}?x=1` })],
  ["the authority", (call) => ({ ...call, authority: "payments.shop:9090" })],
  ["the body", (call) => ({ ...call, body: message("pay mallory") })],
  ["a body of the same length", (call) => ({ ...call, body: message("pay malice") })],
  ["the signature", (call) => withField(call, "signature", (value) => flipped(value, value.indexOf(":") + 5))],
  [
    "the nonce",
    (call) =>
      withField(call, "signature-input", (value) =>
        value.replace(/nonce="(.)/, (_, first: string) => `nonce="${first === "_" ? "A" : "_"}`),
      ),
  ],
  [
    "the expiry",
    (call) => withField(call, "signature-input", (value) => value.replace(/expires=(\d+)/, (_, at: string) => `expires=${Number(at) + 5}`)),
  ],
  ["what is covered", (call) => withField(call, "signature-input", (value) => value.replace('"@path" ', ""))],
  ["the sender", (call) => withField(call, "x-remora-src", () => "spiffe://cluster.local/ns/shop/sa/client")],
  ["the receiver", (call) => withField(call, "x-remora-dst", () => "spiffe://cluster.local/ns/shop/sa/payments")],
  ["the channel binding", (call) => withField(call, "x-remora-cb", (value) => flipped(value, 3))],
  ["the digest", (call) => withField(call, "content-digest", (value) => flipped(value, 12))],
  ["nothing, but the signature is left out", (call) => without(call, ["signature", "signature-input"])],
  ["nothing, but all fields of the mesh are left out", (call) => ({ ...call, fields: [] })],
];

t.test("tampered gRPC is answered UNAUTHENTICATED and never reaches the app", { skip }, async (t) => {
  const cluster = await startCluster(t);
  await cluster.apply(ECHO);
  const echo = cluster.pod("shop/echo");
  const address = echo.facts.podIps[0] ?? "";
  const identity = await enroll(t, cluster);
  const certificate = await messageCertificateOf(identity, address);
  const dialer = createMeshDialer({ identity, clock: systemClock, connectTimeoutMs: 5_000 });
  t.teardown(() => dialer.close());
  const seenByApp = () =>
    echo
      .log("app")
      .split("\n")
      .filter((line) => line.startsWith('{"call"')).length;
  let accepted = 0;

  for (const mode of ["hmac", "sign"] as const) {
    const connection = await dial(dialer, address);
    const session = await openSession(t, connection);
    const sign = (clock: Clock = systemClock, on = connection): Call => {
      const signer = createSigner({ identity: MALLORY, credentials: () => identity.current(), mode, clock, randomBytes });
      const body = message("pay alicia");
      const fields = signer.sign({
        method: "POST",
        authority: AUTHORITY,
        path: PATH,
        contentType: "application/grpc",
        dst: ECHO_ID,
        dstMessageCertificateKey: certificate,
        channelBinding: on.channelBinding,
        body,
        includeCertificate: true,
      });
      return { method: "POST", path: PATH, authority: AUTHORITY, fields, body };
    };

    t.test(`${mode}: what is signed as it arrives passes`, async (t) => {
      t.equal(await send(session, sign()), 0);
      accepted += 1;
      await until("the app saw the call", 20_000, () => seenByApp() === accepted);
    });
    for (const [what, change] of TAMPERINGS) {
      t.test(`${mode}: changed is ${what}`, async (t) => t.equal(await send(session, change(sign())), UNAUTHENTICATED));
    }
    t.test(`${mode}: a replay`, async (t) => {
      const call = sign();
      t.equal(await send(session, call), 0);
      accepted += 1;
      t.equal(await send(session, call), UNAUTHENTICATED, "on the same connection");
      const other = await openSession(t, await dial(dialer, address));
      t.equal(await send(other, call), UNAUTHENTICATED, "on another connection");
      t.equal(await send(other, sign()), UNAUTHENTICATED, "a signature that was never used, on another connection");
    });
    t.test(`${mode}: an old signature`, async (t) => {
      const past: Clock = { ...systemClock, nowMs: () => Date.now() - 120_000 };
      t.equal(await send(session, sign(past)), UNAUTHENTICATED);
    });
  }
  t.test("and the app saw only what passed", async (t) => {
    await new Promise((done) => setTimeout(done, 200));
    t.equal(seenByApp(), accepted);
    t.comment(`${accepted} calls passed, ${2 * (TAMPERINGS.length + 4)} were refused`);
  });
});

/** Mallory's own certificate, which the mesh's CA gives to anybody with a service account. */
async function enroll(t: Test, cluster: Cluster): Promise<IdentitySource> {
  const identity = await startIdentity({
    controlAddress: `${cluster.runner.network.hostIpv4}:15010`,
    identity: MALLORY,
    credential: async () => ({ serviceAccountToken: cluster.mintToken("shop", "mallory") }),
    pins: [...cluster.trustPins()],
    stateDir: null,
    clock: systemClock,
    random: Math.random,
    log: silentLogger(),
    metrics: createMetrics({ component: "mallory", version: "0", commit: "test" }),
  });
  t.teardown(() => identity.close());
  return identity;
}

/** The receiver's message certificate, as any member of the mesh learns it from the registry. */
async function messageCertificateOf(identity: IdentitySource, address: string): Promise<MessageCertificate> {
  const { address: control, credentials, options } = identity.grpcChannel();
  const Registry = grpc.makeGenericClientConstructor(registryService, "Registry");
  const client = new Registry(control, credentials, options);
  const watch = (client as unknown as { watch(): grpc.ClientDuplexStream<object, { upserts: { messageCertificate: Buffer }[] }> }).watch(); // made from the proto
  try {
    watch.write({ key: "echo", address: { address, port: PORT } });
    const der = await new Promise<Buffer>((done, fail) => {
      watch.on("data", ({ upserts }) => {
        const found = upserts[0]?.messageCertificate;
        if (found !== undefined && found.length > 0) done(found);
      });
      watch.on("error", fail);
    });
    const certificates = createMessageCertificates({
      trust: { trustDomain: identity.trustDomain, roots: () => identity.current().roots },
      clock: systemClock,
    });
    const key = certificates.ofDer(der, ECHO_ID);
    if (key === null) throw new Error("the registry's message certificate is not acceptable");
    return key;
  } finally {
    watch.on("error", () => {}); // cancelled
    watch.cancel();
    client.close();
  }
}

function dial(dialer: ReturnType<typeof createMeshDialer>, address: string): Promise<MeshConnection> {
  return new Promise((done, fail) => {
    dialer.dial({ address, dialPort: PORT, port: PORT, identity: ECHO_ID as SpiffeId, alpn: ["remora/h2"] }, (error, connection) =>
      connection === null ? fail(error) : done(connection),
    );
  });
}

async function openSession(t: Test, connection: MeshConnection): Promise<ClientHttp2Session> {
  const session = connect("http://mesh", { createConnection: () => connection.socket });
  t.teardown(() => session.destroy());
  await new Promise<void>((done, fail) => {
    session.once("remoteSettings", () => done());
    session.once("error", fail);
  });
  return session;
}

/** Sends the call; resolves with its grpc-status, or -1 when there is none. */
function send(session: ClientHttp2Session, call: Call): Promise<number> {
  const fields: Record<string, string> = {};
  for (let i = 0; i < call.fields.length; i += 2) fields[call.fields[i] ?? ""] = call.fields[i + 1] ?? "";
  const stream = session.request({
    ":method": call.method,
    ":path": call.path,
    ":authority": call.authority,
    ":scheme": "http",
    "content-type": "application/grpc",
    te: "trailers",
    ...fields,
  });
  return new Promise((done, fail) => {
    let status = -1;
    const note = (headers: Readonly<Record<string, unknown>>) => {
      if (headers["grpc-status"] !== undefined) status = Number(headers["grpc-status"]);
    };
    stream.setTimeout(5_000, () => stream.close(constants.NGHTTP2_CANCEL));
    stream.on("response", note);
    stream.on("trailers", note);
    stream.on("error", fail);
    stream.on("close", () => done(status));
    stream.resume();
    stream.end(call.body);
  });
}

/** One gRPC frame with the message's text (field 1). */
function message(text: string): Buffer {
  const proto = Buffer.concat([Buffer.from([0x0a, text.length]), Buffer.from(text)]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(proto.length, 1);
  return Buffer.concat([head, proto]);
}

function withField(call: Call, name: string, change: (value: string) => string): Call {
  const at = call.fields.indexOf(name);
  if (at < 0) throw new Error(`the signed request has no ${name}`);
  const before = call.fields[at + 1] ?? "";
  const after = change(before);
  if (after === before) throw new Error(`${name} is not changed: ${before}`);
  return { ...call, fields: call.fields.with(at + 1, after) };
}

function without(call: Call, names: readonly string[]): Call {
  return { ...call, fields: call.fields.filter((_, i) => !names.includes(call.fields[i - (i % 2)] ?? "")) };
}

/** The text with one base64 character replaced by another. */
function flipped(text: string, at: number): string {
  return text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);
}
