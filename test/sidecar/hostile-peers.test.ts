// What a peer that may not be trusted can do to the ports of a sidecar (design 6): wrong certificates, wrong names, bytes of no protocol.
import { once } from "node:events";
import { createServer, request } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer } from "node:net";
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from "node:tls";
import t from "tap";
import { systemClock } from "../../core/clock.ts";
import { sniFor } from "../../core/spiffe.ts";
import { createMeshDialer } from "../../sidecar/transport/mesh-dial.ts";
import type { EngineName } from "../../sidecar/engine.ts";
import { ENGINES } from "../support/mesh-fixture.ts";
import { type MeshPair, startMeshPair } from "../support/mesh-pair.ts";
import { createSeededRandom } from "../support/seeded-random.ts";
import { BAD_LEAVES, type BadLeaf, createStaticIdentity, createThrowawayCa } from "../support/throwaway-ca.ts";

type Tap = { teardown(run: () => unknown): void };

async function protectedApp(t: Tap, engine: EngineName): Promise<{ pair: MeshPair; appPort: number; seen: string[] }> {
  const seen: string[] = [];
  const app = createServer((request, response) => {
    seen.push(request.url ?? "");
    response.end("ok");
  }).listen(0, "127.0.0.1");
  await once(app, "listening");
  const appPort = (app.address() as AddressInfo).port;
  const pair = await startMeshPair({ appPort, engine });
  t.teardown(async () => {
    app.closeAllConnections();
    app.close();
    await pair.close();
  });
  return { pair, appPort, seen };
}

/** Connects as a mesh peer, asks for /, and gives what came back; empty when the sidecar cut it off. */
function askAs(pair: MeshPair, options: { cert?: string; key?: string; servername: string; alpn?: string[] }): Promise<string> {
  return new Promise((resolve) => {
    const socket: TLSSocket = connectTls({
      host: "127.0.0.1",
      port: pair.inboundPort,
      ...(options.cert === undefined ? {} : { cert: options.cert, key: options.key ?? "" }),
      servername: options.servername,
      ALPNProtocols: options.alpn ?? ["remora/h1"],
      rejectUnauthorized: false,
      // So that OpenSSL lets the client present the RSA-1024 key at all.
      ciphers: "DEFAULT@SECLEVEL=0",
    });
    let text = "";
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      text += chunk;
    });
    socket.once("close", () => resolve(text));
    socket.once("secureConnect", () => socket.write("GET / HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n"));
    setTimeout(() => socket.destroy(), 3000).unref();
  });
}

for (const engine of ENGINES) {
  t.test(`${engine}: inbound: every kind of bad certificate is refused before the app hears of it`, async (t) => {
    const { pair, appPort, seen } = await protectedApp(t, engine);
    const servername = sniFor(pair.callee.identity, appPort);
    const good = pair.ca.leaf("demo/web");
    t.match(await askAs(pair, { cert: good.certPem, key: good.keyPem, servername }), /^HTTP\/1\.1 200/, "a good one passes");
    for (const kind of Object.keys(BAD_LEAVES) as BadLeaf[]) {
      const bad = pair.ca.badLeaf(kind, "demo/web");
      t.equal(await askAs(pair, { cert: bad.certPem, key: bad.keyPem, servername }), "", kind);
    }
    t.equal(await askAs(pair, { servername }), "", "none");
    t.equal(seen.length, 1);
    t.match(await pair.calleeMetrics.registry.metrics(), /remora_refused_total\{direction="inbound",reason="unauthenticated"\} \d+/);
  });
}

for (const engine of ENGINES) {
  t.test(`${engine}: inbound: a server name that is not this workload's, or a port that is not announced, is refused`, async (t) => {
    const { pair, appPort, seen } = await protectedApp(t, engine);
    const { certPem: cert, keyPem: key } = pair.ca.leaf("demo/web");
    const wrongNames = [
      "orders",
      sniFor(pair.ca.id("demo/other"), appPort),
      sniFor(pair.callee.identity, appPort === 1 ? 2 : 1),
      `p0.orders.demo.sa.cluster.local`,
    ];
    for (const servername of wrongNames) t.equal(await askAs(pair, { cert, key, servername }), "", servername);
    const servername = sniFor(pair.callee.identity, appPort);
    t.equal(await askAs(pair, { cert, key, servername, alpn: ["http/1.1"] }), "", "an app's own TLS is plaintext to a strict mesh");
    t.same(seen, []);
  });
}

t.test("outbound: a server that cannot prove the announced identity gets no byte of the request", async (t) => {
  const ca = createThrowawayCa();
  const dialer = createMeshDialer({ identity: createStaticIdentity(ca, "demo/web"), clock: systemClock, connectTimeoutMs: 1000 });
  t.teardown(() => dialer.close());
  for (const kind of [...(Object.keys(BAD_LEAVES) as BadLeaf[]), "other"] as const) {
    const leaf = kind === "other" ? ca.leaf("demo/other") : ca.badLeaf(kind, "demo/orders");
    let received = 0;
    const server = createTlsServer(
      { ciphers: "DEFAULT@SECLEVEL=0", key: leaf.keyPem, cert: leaf.certPem, ALPNProtocols: ["remora/h1"] },
      (socket) => {
        socket.on("error", () => {});
        socket.on("data", (chunk) => {
          received += chunk.length;
        });
      },
    );
    server.on("tlsClientError", () => {});
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const reason = await new Promise((resolve) =>
      dialer.dial({ address: "127.0.0.1", dialPort: port, port: 80, identity: ca.id("demo/orders"), alpn: ["remora/h1"] }, (error) =>
        resolve(error?.code),
      ),
    );
    t.equal(reason, "identity_mismatch", kind);
    t.equal(received, 0);
    server.close();
  }
});

t.test("outbound: a peer that accepts and says nothing ends in a timeout", async (t) => {
  const mute = createTcpServer((socket) => socket.on("error", () => {})).listen(0, "127.0.0.1");
  await once(mute, "listening");
  t.teardown(() => mute.close());
  const dialer = createMeshDialer({
    identity: createStaticIdentity(createThrowawayCa(), "demo/web"),
    clock: systemClock,
    connectTimeoutMs: 150,
  });
  const reason = await new Promise((resolve) =>
    dialer.dial(
      {
        address: "127.0.0.1",
        dialPort: (mute.address() as AddressInfo).port,
        port: 80,
        identity: createThrowawayCa().id("demo/orders"),
        alpn: ["remora/h1"],
      },
      (error) => resolve(error?.code),
    ),
  );
  t.equal(reason, "timeout");
});

for (const engine of ENGINES) {
  t.test(`${engine}: garbage, cut-off and half-sent bytes on both ports end their own connection and nothing else`, async (t) => {
    const { pair, appPort, seen } = await protectedApp(t, engine);
    const random = createSeededRandom(77);
    const { below } = random;
    const starts = [
      "GET / HT",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00",
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
      "POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 99\r\n\r\nx",
      "",
    ];
    const attempts = Array.from({ length: 120 }, (_, index) => {
      const noise = Buffer.from(Array.from({ length: below(400) }, () => below(256)));
      return {
        port: index % 2 === 0 ? pair.inboundPort : pair.outboundPort,
        bytes: Buffer.concat([Buffer.from(starts[index % starts.length] ?? "", "latin1"), noise]),
        reset: below(2) === 0,
      };
    });
    await Promise.all(
      attempts.map(
        ({ port, bytes, reset }) =>
          new Promise<void>((resolve) => {
            const socket = connect(port, "127.0.0.1", () => {
              socket.write(bytes, () => (reset ? socket.resetAndDestroy() : socket.end()));
            });
            socket.on("error", () => {});
            socket.on("data", () => {});
            socket.once("close", () => resolve());
            setTimeout(() => socket.destroy(), 1500).unref();
          }),
      ),
    );
    const sent = request({ host: "127.0.0.1", port: pair.outboundPort, headers: { host: "orders" }, agent: false }).end();
    const [answer] = await once(sent, "response");
    t.equal(answer.statusCode, 200, `still serves after ${attempts.length} attempts on port ${appPort}`);
    t.same(
      seen.filter((path) => path !== "/"),
      [],
    );
  });
}
