import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { connect } from "node:tls";
import t from "tap";
import { readClientHello } from "../../../sidecar/transport/client-hello.ts";
import { classify } from "../../../sidecar/transport/detect.ts";

/** The bytes that Node's own TLS client (OpenSSL) sends first. */
async function realClientHello(options: { servername?: string; ALPNProtocols?: string[] }): Promise<Buffer> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect({ host: "127.0.0.1", port: (server.address() as AddressInfo).port, ...options });
  client.on("error", () => {});
  const [socket] = await once(server, "connection");
  const [bytes] = await once(socket, "data");
  client.destroy();
  socket.destroy();
  server.close();
  return bytes;
}

t.test("reads ALPN and server name of a real ClientHello", async (t) => {
  const bytes = await realClientHello({ servername: "p80.web.demo.sa.cluster.local", ALPNProtocols: ["remora/h1"] });
  t.same(readClientHello(bytes), { kind: "hello", alpn: ["remora/h1"], serverName: "p80.web.demo.sa.cluster.local" });
  t.same(classify(bytes), { kind: "mesh", serverName: "p80.web.demo.sa.cluster.local" });
});

t.test("an app's own TLS is not the mesh's", async (t) => {
  t.same(classify(await realClientHello({ servername: "example.com", ALPNProtocols: ["h2", "http/1.1"] })), { kind: "tls" });
  t.same(classify(await realClientHello({})), { kind: "tls" });
});

t.test("every prefix of a ClientHello is undecided, never wrong", async (t) => {
  const bytes = await realClientHello({ servername: "a.b", ALPNProtocols: ["remora/h2"] });
  for (let length = 1; length < bytes.length; length++) {
    if (readClientHello(bytes.subarray(0, length)).kind !== "incomplete") t.fail(`decided after ${length} of ${bytes.length} bytes`);
  }
  t.pass(`${bytes.length} prefixes`);
});

t.test("a ClientHello split over several records is put together", async (t) => {
  const bytes = await realClientHello({ servername: "a.b", ALPNProtocols: ["remora/h2"] });
  const handshake = bytes.subarray(5);
  const record = (part: Buffer) => Buffer.concat([Buffer.from([0x16, 3, 1, part.length >> 8, part.length & 0xff]), part]);
  const split = Buffer.concat([record(handshake.subarray(0, 3)), record(handshake.subarray(3, 60)), record(handshake.subarray(60))]);
  t.same(readClientHello(split), { kind: "hello", alpn: ["remora/h2"], serverName: "a.b" });
});

t.test("mutated ClientHellos never crash and never claim more than is there", async (t) => {
  const bytes = await realClientHello({ servername: "a.b", ALPNProtocols: ["remora/h2"] });
  let seed = 20260;
  const random = (below: number) => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return seed % below;
  };
  const kinds = new Map<string, number>();
  for (let round = 0; round < 20_000; round++) {
    const mutated = Buffer.from(bytes.subarray(0, 1 + random(bytes.length)));
    for (let flips = random(4); flips >= 0; flips--) mutated[random(mutated.length)] = random(256);
    const { kind } = readClientHello(mutated);
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  t.equal(
    [...kinds.values()].reduce((sum, count) => sum + count, 0),
    20_000,
  );
});

t.test("plaintext is told by its first line", async (t) => {
  const cases: ReadonlyArray<readonly [string, string | null]> = [
    ["GET / HTTP/1.1\r\n", "http1"],
    ["PROPFIND /a HTTP/1.1\r\nHost: x\r\n", "http1"],
    ["CONNECT a:1 HTTP/1.1\r\n", "http1"],
    ["M-SEARCH * HTTP/1.1\r\n", "http1"],
    ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2"],
    ["PRI * HTTP/2.0\r\n", null],
    ["G", null],
    ["GET /very/long", null],
    ["*1\r\n$4\r\nPING\r\n", "opaque"],
    ["SET key value\r\n", "opaque"],
    ["HELO there\r\n", "opaque"],
    ["GET /\r\n", "opaque"],
    ["get / HTTP/1.1\r\n", "opaque"],
    [" GET / HTTP/1.1\r\n", "opaque"],
    ["\r\nGET / HTTP/1.1\r\n", "opaque"],
    [`${"A".repeat(30)} / HTTP/1.1\r\n`, "opaque"],
    ["\u0000\u0000", "opaque"],
  ];
  for (const [text, expected] of cases) t.equal(classify(Buffer.from(text, "latin1"))?.kind ?? null, expected, JSON.stringify(text));
  t.equal(classify(Buffer.from(`GET /${"a".repeat(9000)}`))?.kind, "http1", "a request line without an end is the engine's to refuse");
});

t.test("where HTTP is suspected, whatever a server could take for a request is one", async (t) => {
  for (const [text, expected] of [
    ["GET / HTTP/1.1\r\n", "http1"],
    ["get / HTTP/1.1\r\n", "http1"],
    ["\r\n\r\nGET / HTTP/1.1\r\n", "http1"],
    [" GET / HTTP/1.1\r\n", "http1"],
    ["GET\t/\tHTTP/1.1\r\n", "http1"],
    ["GET /\r\n", "http1"],
    ["X! / HTTP/1.1\r\n", "http1"],
    [`${"A".repeat(30)} / HTTP/1.1\r\n`, "http1"],
    ["\r\n".repeat(40), "http1"],
    ["\r\n", null],
    ["GET", null],
    ["GET / HTTP/1.1", null],
    ["*1\r\n$4\r\nPING\r\n", "opaque"],
    ["SET key value\r\n", "opaque"],
    ["HELO there\r\n", "opaque"],
    ["\u0000\u0000", "opaque"],
  ] as const) {
    t.equal(classify(Buffer.from(text, "latin1"), true)?.kind ?? null, expected, JSON.stringify(text));
  }
});
