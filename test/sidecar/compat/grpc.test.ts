import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2, type IncomingHttpHeaders } from "node:http2";
import { connect as connectTls, type TLSSocket } from "node:tls";
import {
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  Metadata,
  type ServiceError,
  status,
  type StatusObject,
} from "@grpc/grpc-js";
import t from "tap";
import { sniFor } from "../../../core/spiffe.ts";
import { systemClock } from "../../../core/clock.ts";
import { createMessageCertificates } from "../../../sidecar/signing/message-certificates.ts";
import { createSigner } from "../../../sidecar/signing/signer.ts";
import { randomBytes } from "node:crypto";
import { channelBindingOf } from "../../../sidecar/transport/mesh-dial.ts";
import { type EchoServer, echoClient, startEchoServer } from "../../support/echo-grpc.ts";
import { type MeshPair, type MeshPairOptions, startMeshPair } from "../../support/mesh-pair.ts";

type Tap = { teardown(run: () => unknown): void };
type Client = ReturnType<typeof echoClient>;

interface Fixture {
  readonly app: EchoServer;
  readonly pair: MeshPair;
  readonly client: Client;
}

async function fixture(t: Tap, options: Partial<MeshPairOptions> = {}): Promise<Fixture> {
  const app = await startEchoServer();
  const pair = await startMeshPair({ appPort: app.port, protocol: "grpc", ...options });
  const client = echoClient(pair.outboundPort, "orders");
  t.teardown(async () => {
    client.close();
    app.close();
    await pair.close();
  });
  return { app, pair, client };
}

interface UnaryAnswer {
  readonly error: ServiceError | null;
  readonly value: Buffer | null;
  readonly trailers: Metadata;
}

function unary(client: Client, message: Buffer, metadata = new Metadata(), deadlineMs = 5000): Promise<UnaryAnswer> {
  return new Promise((resolve) => {
    let trailers = new Metadata();
    const call = (client as unknown as Record<string, (...args: unknown[]) => ClientUnaryCall>)["Unary"]?.(
      message,
      metadata,
      { deadline: Date.now() + deadlineMs },
      (error: ServiceError | null, value: Buffer | undefined) => setImmediate(() => resolve({ error, value: value ?? null, trailers })),
    );
    call?.on("status", (end: StatusObject) => {
      trailers = end.metadata;
    });
  });
}

/** The end of a call. Not `once`: it rejects when the call also emits `error`. */
function statusOf(call: ClientDuplexStream<Buffer, Buffer> | ClientReadableStream<Buffer>): Promise<StatusObject> {
  return new Promise((resolve) => call.once("status", resolve));
}

for (const mode of ["hmac", "sign", "mtls"] as const) {
  t.test(`signing ${mode}: all four kinds of call, trailers and binary metadata pass both hops`, async (t) => {
    const { app, client } = await fixture(t, { signing: mode, verify: mode });
    const calls = client as unknown as Record<string, (...args: unknown[]) => unknown>;
    const metadata = new Metadata();
    metadata.set("tag-bin", Buffer.from([0, 1, 2, 255]));
    const answer = await unary(client, Buffer.from("hello"), metadata);
    t.equal(answer.error, null);
    t.equal(String(answer.value), "hello");
    t.same(answer.trailers.get("seen-bin")[0], Buffer.from([255, 2, 1, 0]));
    const [seen] = app.calls;
    t.same(seen?.get("x-remora-client-id"), ["spiffe://cluster.local/ns/demo/sa/web"]);
    t.same(seen?.get("signature"), [], "the mesh's own fields end at the sidecar");

    const collected = await new Promise<Buffer>((resolve, reject) => {
      const call = calls["Collect"]?.call(client, (error: ServiceError | null, value: Buffer) =>
        error === null ? resolve(value) : reject(error),
      ) as ClientWritableStream<Buffer>;
      for (let index = 0; index < 50; index++) call.write(Buffer.from(`${index};`));
      call.end();
    });
    t.equal(String(collected).split(";").length, 51);

    const times = new Metadata();
    times.set("times", "1000");
    const repeated = calls["Repeat"]?.call(client, Buffer.alloc(1000, 1), times) as ClientReadableStream<Buffer>;
    let count = 0;
    for await (const _message of repeated) count += 1;
    t.equal(count, 1000);

    const chat = calls["Chat"]?.call(client) as ClientDuplexStream<Buffer, Buffer>;
    for (const word of ["one", "two", "three"]) {
      chat.write(Buffer.from(word));
      t.equal(String((await once(chat, "data"))[0]), word, "each message is answered before the next is sent");
    }
    chat.end();
    const end = await statusOf(chat);
    t.equal(end.code, status.OK);
  });
}

t.test("errors of the app keep code, message and trailers; large messages and many streams pass", async (t) => {
  const { client } = await fixture(t);
  const metadata = new Metadata();
  metadata.set("tag-bin", Buffer.from("ab"));
  metadata.set("fail", "yes");
  const failed = await unary(client, Buffer.from("x"), metadata);
  t.equal(failed.error?.code, status.FAILED_PRECONDITION);
  t.equal(failed.error?.details, "told to fail: yes");
  t.same(failed.error?.metadata.get("seen-bin")[0], Buffer.from("ba"));
  const large = Buffer.alloc(16 * 1024 * 1024, 3);
  t.equal((await unary(client, large, new Metadata(), 20_000)).value?.length, large.length);
  const answers = await Promise.all(
    Array.from({ length: 500 }, (_, index) => unary(client, Buffer.from(String(index)), new Metadata(), 20_000)),
  );
  t.ok(answers.every(({ value }, index) => String(value) === String(index)));
});

t.test("cancellation reaches the app, a deadline is kept", async (t) => {
  const { client } = await fixture(t);
  const calls = client as unknown as Record<string, (...args: unknown[]) => unknown>;
  const times = new Metadata();
  times.set("times", "1000000");
  const endless = calls["Repeat"]?.call(client, Buffer.alloc(1000), times) as ClientReadableStream<Buffer>;
  endless.on("error", () => {});
  await once(endless, "data");
  endless.cancel();
  const end = await statusOf(endless);
  t.equal(end.code, status.CANCELLED);
  const waiting = calls["Chat"]?.call(client, new Metadata(), { deadline: Date.now() + 200 }) as ClientDuplexStream<Buffer, Buffer>;
  waiting.on("error", () => {});
  const late = await statusOf(waiting);
  t.equal(late.code, status.DEADLINE_EXCEEDED);
});

t.test("local refusals are well-formed gRPC answers with the right code", async (t) => {
  const limited = await fixture(t, { rateLimit: "1/m" });
  t.equal((await unary(limited.client, Buffer.from("1"))).error, null);
  const refused = await unary(limited.client, Buffer.from("2"));
  t.equal(refused.error?.code, status.RESOURCE_EXHAUSTED);
  t.same(refused.error?.metadata.get("x-remora-reason"), ["rate_limited"]);
  t.equal((await unary((await fixture(t, { allow: "demo/other" })).client, Buffer.from("1"))).error?.code, status.PERMISSION_DENIED);
  const unsigned = await fixture(t, { signing: "mtls", verify: "hmac" });
  t.equal((await unary(unsigned.client, Buffer.from("1"))).error?.code, status.UNAUTHENTICATED);
  const weak = await fixture(t, { signing: "hmac", verify: "sign" });
  t.equal((await unary(weak.client, Buffer.from("1"))).error?.code, status.UNAUTHENTICATED);
  t.same([...unsigned.app.calls, ...weak.app.calls], [], "the app saw neither");
  const dead = await fixture(t);
  dead.app.close();
  t.equal((await unary(dead.client, Buffer.from("1"))).error?.code, status.UNAVAILABLE);
});

/** A client with a good certificate that writes its own HTTP/2: what a compromised workload could send. */
async function meshSession(t: Tap, pair: MeshPair, appPort: number): Promise<{ session: ClientHttp2Session; socket: TLSSocket }> {
  const { certificateChainPem, privateKeyPem, rootsPem } = pair.caller.current();
  const socket = connectTls({
    host: "127.0.0.1",
    port: pair.inboundPort,
    cert: certificateChainPem,
    key: privateKeyPem,
    ca: rootsPem,
    servername: sniFor(pair.callee.identity, appPort),
    ALPNProtocols: ["remora/h2"],
    checkServerIdentity: () => undefined,
  });
  await once(socket, "secureConnect");
  const session = connectHttp2("http://orders", { createConnection: () => socket });
  session.on("error", () => {});
  t.teardown(() => session.destroy());
  return { session, socket };
}

async function grpcStatusOf(session: ClientHttp2Session, fields: readonly string[], body: Buffer): Promise<string> {
  const stream: ClientHttp2Stream = session.request(fields as unknown as IncomingHttpHeaders);
  stream.on("error", () => {});
  let found = "none";
  const note = (headers: IncomingHttpHeaders) => {
    if (headers["grpc-status"] !== undefined) found = String(headers["grpc-status"]);
  };
  stream.on("response", note);
  stream.on("trailers", note);
  stream.resume();
  stream.end(body);
  await new Promise((resolve) => stream.once("close", resolve));
  return found;
}

t.test("a request that was changed after it was signed, or replayed, is UNAUTHENTICATED; the app never sees it", async (t) => {
  // The port's protocol is not declared: what is gRPC must be seen from the request alone.
  const { app, pair } = await fixture(t, { protocol: "detect" });
  const { session, socket } = await meshSession(t, pair, app.port);
  const other = await meshSession(t, pair, app.port);
  const credentials = pair.caller.current();
  const certificates = createMessageCertificates({
    trust: { trustDomain: "cluster.local", roots: () => credentials.roots },
    clock: systemClock,
  });
  const signer = createSigner({
    identity: pair.caller.identity,
    credentials: () => credentials,
    mode: "hmac",
    clock: systemClock,
    randomBytes,
  });
  const body = Buffer.concat([Buffer.from([0, 0, 0, 0, 5]), Buffer.from("hello")]);

  function signed(): { head: string[]; fields: string[] } {
    const request = { method: "POST", authority: "orders", path: "/test.Echo/Unary", contentType: "application/grpc" };
    const fields = signer.sign({
      ...request,
      dst: pair.callee.identity,
      dstMessageCertificateKey: certificates.ofDer(pair.callee.current().messageCertificate, pair.callee.identity),
      channelBinding: channelBindingOf(socket),
      body,
      includeCertificate: true,
    });
    return {
      head: [
        ":method",
        "POST",
        ":scheme",
        "http",
        ":authority",
        "orders",
        ":path",
        request.path,
        "content-type",
        request.contentType,
        "te",
        "trailers",
      ],
      fields,
    };
  }
  function change(list: string[], name: string, value: string): string[] {
    const changed = [...list];
    changed[changed.indexOf(name) + 1] = value;
    return changed;
  }

  const good = signed();
  t.equal(await grpcStatusOf(session, [...good.head, ...good.fields], body), "0", "as signed it passes");
  t.equal(app.calls.length, 1);
  t.equal(await grpcStatusOf(session, [...good.head, ...good.fields], body), "16", "replayed");

  const cases: ReadonlyArray<readonly [string, (of: ReturnType<typeof signed>) => string[], Buffer?]> = [
    ["method", ({ head, fields }) => [...change(head, ":method", "PUT"), ...fields]],
    ["path", ({ head, fields }) => [...change(head, ":path", "/test.Echo/Delete"), ...fields]],
    ["authority", ({ head, fields }) => [...change(head, ":authority", "payments"), ...fields]],
    ["content-type", ({ head, fields }) => [...change(head, "content-type", "application/grpc+json"), ...fields]],
    ["body", ({ head, fields }) => [...head, ...fields], Buffer.concat([Buffer.from([0, 0, 0, 0, 5]), Buffer.from("jello")])],
    ["body cut", ({ head, fields }) => [...head, ...fields], body.subarray(0, 9)],
    ["signature", ({ head, fields }) => [...head, ...change(fields, "signature", `remora=:${Buffer.alloc(32).toString("base64")}:`)]],
    ["source", ({ head, fields }) => [...head, ...change(fields, "x-remora-src", "spiffe://cluster.local/ns/demo/sa/admin")]],
    ["channel binding", ({ head, fields }) => [...head, ...change(fields, "x-remora-cb", Buffer.alloc(32).toString("base64url"))]],
    ["signature left out", ({ head }) => head],
    ["left out, content-type in capitals", ({ head }) => change(head, "content-type", "Application/GRPC")],
  ];
  for (const [name, request, changedBody] of cases) {
    t.equal(await grpcStatusOf(session, request(signed()), changedBody ?? body), "16", name);
  }
  const elsewhere = signed();
  t.equal(await grpcStatusOf(other.session, [...elsewhere.head, ...elsewhere.fields], body), "16", "on another connection");
  t.equal(app.calls.length, 1, "the app saw the good one only");
  const metrics = await pair.calleeMetrics.registry.metrics();
  t.match(metrics, /remora_refused_total\{direction="inbound",reason="signature_replayed"\} 1/);
  t.match(metrics, /remora_refused_total\{direction="inbound",reason="signature_missing"\} 2/);
});

t.test("draining sends GOAWAY and lets calls in flight finish", async (t) => {
  const { client, pair } = await fixture(t);
  const calls = client as unknown as Record<string, (...args: unknown[]) => unknown>;
  const chat = calls["Chat"]?.call(client) as ClientDuplexStream<Buffer, Buffer>;
  chat.write(Buffer.from("a"));
  await once(chat, "data");
  pair.drain("inbound");
  pair.drain("outbound");
  chat.write(Buffer.from("b"));
  t.equal(String((await once(chat, "data"))[0]), "b");
  chat.end();
  const end = await statusOf(chat);
  t.equal(end.code, status.OK);
  t.equal((await unary(client, Buffer.from("next"))).error, null, "a new connection takes the next call");
});
