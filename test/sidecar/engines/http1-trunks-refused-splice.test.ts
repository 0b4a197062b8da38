// A peer that refuses a connection on its trunk without looking at it (REFUSED_STREAM, RFC 9113 section 8.7): what can be sent again without harm is, once.
import { performServerHandshake, type ServerHttp2Stream, constants } from "node:http2";
import { createSecureContext, createServer as createTlsServer } from "node:tls";
import type { MeshPair } from "../../support/mesh-pair.ts";
import { ask, type Http1Mesh, http1Tests } from "../../support/http1-fixture.ts";

const ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const test = http1Tests("splice");

interface RefusingPeer {
  readonly pair: MeshPair;
  /** Streams that it was asked for. */
  asked(): number;
}

/** A caller whose only endpoint is a peer by node:http2, which refuses its first `refusals` streams and answers what comes on the others. */
async function refusingPeer(mesh: Http1Mesh, refusals: number): Promise<RefusingPeer> {
  let pair: MeshPair | null = null;
  let asked = 0;
  function serve(stream: ServerHttp2Stream): void {
    stream.on("error", () => {}); // its end is what the caller sees
    asked += 1;
    if (asked <= refusals) return stream.close(constants.NGHTTP2_REFUSED_STREAM);
    stream.respond({ ":status": 200 });
    stream.on("data", () => stream.write(ANSWER));
    stream.on("end", () => stream.end());
  }
  const server = createTlsServer({
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: ["remora/h1-streams"],
    SNICallback(_name, done) {
      const { certPem, keyPem } = (pair as MeshPair).ca.leaf("demo/orders"); // nobody calls before there is a caller
      done(null, createSecureContext({ cert: certPem, key: keyPem }));
    },
  });
  server.on("secureConnection", (socket) => {
    socket.on("error", () => {});
    const session = performServerHandshake(socket, { settings: { enableConnectProtocol: true } });
    session.on("error", () => {});
    session.on("stream", serve);
  });
  const port = await mesh.listen(server);
  pair = await mesh.pairFor(port, { instances: 0, otherInboundPorts: [port] });
  return { pair, asked: () => asked };
}

test("what was refused unlooked at is sent again on another stream, whatever its method", async (t, mesh) => {
  const { pair, asked } = await refusingPeer(mesh, 1);
  const { status, body } = await ask(pair.outboundPort, { method: "POST", headers: { "content-length": "0" } });
  t.same({ status, body, asked: asked() }, { status: 200, body: "ok", asked: 2 });
});

test("once, and not more often", async (t, mesh) => {
  const { pair, asked } = await refusingPeer(mesh, 1000);
  const { status, headers } = await ask(pair.outboundPort);
  t.same({ status, reason: headers["x-remora-reason"], asked: asked() }, { status: 502, reason: "upstream_reset", asked: 2 });
});

test("a body that has left is not sent again", async (t, mesh) => {
  const { pair, asked } = await refusingPeer(mesh, 1);
  const { status, headers } = await ask(pair.outboundPort, { method: "POST", body: "once" });
  t.same({ status, reason: headers["x-remora-reason"], asked: asked() }, { status: 502, reason: "upstream_reset", asked: 1 });
});
