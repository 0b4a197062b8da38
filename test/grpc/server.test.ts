// A small service over the wire types of Identity: what the handlers see of the caller is the point, not what they answer.
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import {
  type ChannelCredentials,
  type ClientReadableStream,
  credentials,
  makeClientConstructor,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import t from "tap";
import { peerCertificate } from "../../core/peer-certificate.ts";
import { type GrpcServerOptions, type GrpcServerTls, startGrpcServer } from "../../grpc/server.ts";
import { silentLogger } from "../../core/log.ts";
import type { CertifyRequest, CertifyResponse, TrustBundle } from "../../core/wire/identity.ts";
import { identityService } from "../../core/wire/load.ts";
import { createThrowawayCa, type Leaf, type ThrowawayCa } from "../support/throwaway-ca.ts";

const ca = createThrowawayCa();
const CONTROL = "remora-system/remora-control";
const CALL_TIMEOUT_MS = 5000;
/** Node 26 refuses an IP address as TLS server name, and grpc-js 1.14 sends whatever the target is. */
const OPTIONS = { "grpc.use_local_subchannel_pool": 1, "grpc.ssl_target_name_override": "remora-control" };

interface Client {
  Certify(request: Partial<CertifyRequest>, options: object, done: (error: ServiceError | null, answer?: CertifyResponse) => void): void;
  WatchTrust(request: object): ClientReadableStream<TrustBundle>;
  close(): void;
}

function tlsOf(authority: ThrowawayCa, roots = authority.rootPem): GrpcServerTls {
  const leaf = authority.leaf(CONTROL);
  return { key: leaf.keyPem, cert: leaf.certPem + authority.rootPem, ca: roots };
}

/** Answers `messageCertificate` = the DER of the verified client certificate; a trust watch stays open and reports once. */
async function start(t: { teardown(run: () => unknown): void }, changes: Partial<GrpcServerOptions> = {}) {
  const server = await startGrpcServer({
    host: "127.0.0.1",
    port: 0,
    log: silentLogger(),
    tls: () => tlsOf(ca),
    onTlsChange: () => () => undefined,
    closeGraceMs: 300,
    services: [
      {
        definition: identityService,
        implementation: {
          certify: (call: Parameters<typeof peerCertificate>[0], done: (error: null, answer: object) => void) =>
            done(null, { messageCertificate: peerCertificate(call)?.raw ?? Buffer.alloc(0) }),
          watchTrust: (call: { write(message: object): void }) => call.write({ trustDomain: "cluster.local", version: 1, roots: [] }),
        },
      },
    ],
    ...changes,
  });
  t.teardown(() => server.close());
  return server;
}

function client(t: { teardown(run: () => unknown): void }, port: number, own: ChannelCredentials): Client {
  const Constructor = makeClientConstructor(identityService, "Identity");
  const made = new Constructor(`127.0.0.1:${port}`, own, OPTIONS) as unknown as Client;
  t.teardown(() => made.close());
  return made;
}

/** The server's name is a SPIFFE id, which these checks leave to others. */
function channel(leaf: Leaf | null, roots: string): ChannelCredentials {
  const key = leaf === null ? null : Buffer.from(leaf.keyPem);
  const chain = leaf === null ? null : Buffer.from(leaf.certPem);
  return credentials.createSsl(Buffer.from(roots), key, chain, { checkServerIdentity: () => undefined });
}

function certify(of: Client, request: Partial<CertifyRequest> = {}): Promise<CertifyResponse> {
  return new Promise((resolve, reject) => {
    of.Certify(request, { deadline: Date.now() + CALL_TIMEOUT_MS }, (error, answer) =>
      error === null && answer !== undefined ? resolve(answer) : reject(error),
    );
  });
}

async function handshake(port: number, options: object): Promise<TLSSocket> {
  const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
  await once(socket, "secureConnect");
  return socket;
}

t.test("a handler sees the client's certificate when its chain is verified, and none otherwise", async (t) => {
  const { port } = await start(t);
  const good = ca.leaf("shop/web");
  t.same((await certify(client(t, port, channel(good, ca.rootPem)))).messageCertificate, good.der);
  t.equal(
    (await certify(client(t, port, channel(null, ca.rootPem)))).messageCertificate.length,
    0,
    "no certificate is allowed, for joining",
  );
  for (const kind of ["foreign", "expired"] as const) {
    const answer = await certify(client(t, port, channel(ca.badLeaf(kind, "shop/web"), ca.rootPem)));
    t.equal(answer.messageCertificate.length, 0, `${kind} counts as none`);
  }
});

t.test("roots and key are swapped without touching open connections", async (t) => {
  const other = createThrowawayCa();
  let current = tlsOf(ca);
  let change: () => void = () => undefined;
  let isWatched = true;
  const { port, close } = await start(t, {
    tls: () => current,
    onTlsChange: (run) => {
      change = run;
      return () => {
        isWatched = false;
      };
    },
  });
  const old = client(t, port, channel(ca.leaf("shop/web"), ca.rootPem));
  const stream = old.WatchTrust({});
  stream.on("error", () => undefined);
  await once(stream, "data");

  current = tlsOf(other, other.rootPem);
  change();
  const leaf = other.leaf("shop/new");
  t.same((await certify(client(t, port, channel(leaf, other.rootPem)))).messageCertificate, leaf.der, "new connections use the new ones");
  await t.rejects(
    certify(client(t, port, channel(null, ca.rootPem))),
    { code: status.UNAVAILABLE },
    "the old root does not know the server any more",
  );
  t.ok((await certify(old)).messageCertificate.length > 0, "the old connection still carries calls");
  t.notOk(stream.destroyed);

  current = { ...current, key: "not a key" };
  change();
  t.same((await certify(client(t, port, channel(leaf, other.rootPem)))).messageCertificate, leaf.der, "an unusable key changes nothing");
  await close();
  t.notOk(isWatched);
});

t.test("no session is resumed, so that every connection is verified anew", async (t) => {
  const { port } = await start(t);
  const leaf = ca.leaf("shop/web");
  const options = { ALPNProtocols: ["h2"], key: leaf.keyPem, cert: leaf.certPem };
  const first = await handshake(port, options);
  const [session] = (await once(first, "session", { signal: AbortSignal.timeout(500) }).catch(() => [undefined])) as [Buffer | undefined];
  first.destroy();
  const second = await handshake(port, { ...options, ...(session === undefined ? {} : { session }) });
  t.notOk(second.isSessionReused());
  second.destroy();
});

t.test("only TLS 1.3 with h2 is spoken", async (t) => {
  const { port } = await start(t);
  await t.rejects(handshake(port, { maxVersion: "TLSv1.2", ALPNProtocols: ["h2"] }));
  await t.rejects(handshake(port, { ALPNProtocols: ["http/1.1"] }));
  const none = await handshake(port, {});
  none.resume();
  none.on("error", () => undefined);
  await once(none, "close");
  const good = await handshake(port, { ALPNProtocols: ["h2"] });
  t.equal(good.getProtocol(), "TLSv1.3");
  good.destroy();
});

t.test("a message above 1 MiB is refused, and garbage and half handshakes disturb nobody", async (t) => {
  const { port } = await start(t);
  const peer = client(t, port, channel(null, ca.rootPem));
  await t.rejects(certify(peer, { csr: Buffer.alloc(1024 * 1024 + 100) }), { code: status.RESOURCE_EXHAUSTED });

  const garbage = connectTcp(port, "127.0.0.1");
  garbage.on("error", () => undefined);
  garbage.end("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  garbage.resume();
  await once(garbage, "close");
  const notHttp2 = await handshake(port, { ALPNProtocols: ["h2"] });
  notHttp2.on("error", () => undefined);
  notHttp2.resume();
  notHttp2.write("x".repeat(10_000));
  await once(notHttp2, "close");
  const half = connectTcp(port, "127.0.0.1");
  half.write(Buffer.from("16030100", "hex"));
  t.teardown(() => half.destroy());

  t.ok(await certify(peer));
});

t.test("close ends idle connections at once and streams after the grace", async (t) => {
  const idle = await start(t, { closeGraceMs: 3000 });
  const peer = client(t, idle.port, channel(null, ca.rootPem));
  await certify(peer);
  let beforeMs = performance.now();
  await idle.close();
  t.ok(performance.now() - beforeMs < 2500, `${performance.now() - beforeMs} ms`);

  const busy = await start(t);
  const stream = client(t, busy.port, channel(null, ca.rootPem)).WatchTrust({});
  const failed = once(stream, "error").catch((error: unknown) => error);
  stream.on("data", () => undefined);
  await once(stream, "data");
  const half = connectTcp(busy.port, "127.0.0.1");
  half.on("error", () => undefined);
  await once(half, "connect");
  beforeMs = performance.now();
  await busy.close();
  const tookMs = performance.now() - beforeMs;
  t.ok(tookMs >= 250 && tookMs < 3000, `${tookMs} ms`);
  await failed;
});

t.test("a port in use and an unusable key are told at start", async (t) => {
  const { port } = await start(t);
  await t.rejects(start(t, { port }), { code: "EADDRINUSE", message: new RegExp(`127.0.0.1:${port}`) });
  await t.rejects(start(t, { tls: () => ({ key: "x", cert: "y", ca: "z" }) }));
});
