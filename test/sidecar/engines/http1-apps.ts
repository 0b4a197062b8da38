// Apps that speak HTTP/1.1 as no well-behaved one does: nonsense, answers that end too early or come too soon.

import type { EngineName } from "../../../sidecar/engine.ts";
import { GET, http1Tests } from "../../support/http1-fixture.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

/** Registers the tests for one engine. */
export function http1Apps(engine: EngineName): void {
  const test = http1Tests(engine);

  test("an app that answers nonsense is a 502 and harms nobody", async (t, mesh) => {
    let answer = "";
    const pair = await mesh.pairFor(await mesh.cannedApp(() => answer));
    for (const [bytes, status] of [
      ["", 502],
      ["\x00\x01\x02garbage\r\n\r\n", 502],
      ["SSH-2.0-OpenSSH_9\r\n", 502],
      ["HTTP/1.1 200 OK\r\nContent-Le", 502],
      ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 502],
      ["HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", 502],
      ["HTTP/1.1 000 Odd\r\nContent-Length: 0\r\n\r\n", 502],
      // By intent (row `status_invalid`): compat passes on what node:http passes on.
      ["HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", engine === "splice" ? 502 : 999],
      ["HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502],
      ["HTTP/1.1 200 a\x01b\r\nContent-Length: 0\r\n\r\n", 502],
      ["HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n", 502],
      ["HTTP/1.1 200 OK\r\nX: a\x7fb\r\nContent-Length: 0\r\n\r\n", 502],
      [`HTTP/1.1 200 OK\r\nX: ${"a".repeat(100_000)}\r\nContent-Length: 0\r\n\r\n`, 502],
    ] as const) {
      answer = bytes;
      const client = mesh.connect(pair.outboundPort);
      client.send(GET);
      t.match(await client.until(/\r\n\r\n/), new RegExp(`^HTTP/1\\.1 ${status} `), JSON.stringify(bytes.slice(0, 60)));
      client.socket.destroy();
    }
    t.match(await pair.calleeMetrics.registry.metrics(), /remora_refused_total\{direction="inbound",reason="upstream_reset"\} \d+/);
  });

  test("an app that mangles its answers in 200 ways never takes the sidecar with it", async (_t, mesh) => {
    const { below } = createSeededRandom(11);
    const good = Buffer.from(
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: a=b\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    const mangled = () => {
      const bytes = Buffer.from(good);
      for (let count = 1 + below(4); count > 0; count--) bytes[below(bytes.length)] = below(256);
      return bytes.subarray(0, below(4) === 0 ? below(bytes.length) : bytes.length);
    };
    const pair = await mesh.pairFor(await mesh.cannedApp(mangled));
    for (let round = 0; round < 4; round++) {
      const clients = Array.from({ length: 50 }, () => mesh.connect(pair.outboundPort));
      for (const client of clients) client.send("GET / HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n");
      await Promise.all(clients.map((client) => client.ended(600)));
      for (const client of clients) client.socket.destroy();
    }
  });

  test("a POST on a connection that the app closes at that moment is sent once at most; a GET is tried again", async (t, mesh) => {
    let heads: string[] = [];
    // Each connection answers once and is reset when the next request comes.
    const appPort = await mesh.rawApp((socket) => {
      let answered = false;
      socket.on("data", (chunk) => {
        heads.push(chunk.toString("latin1").split(" ")[0] ?? "");
        if (answered) return void socket.resetAndDestroy();
        answered = true;
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      });
    });
    const pair = await mesh.pairFor(appPort);
    const client = mesh.connect(pair.outboundPort);
    client.send(GET);
    await client.until(/ok$/);
    client.send(GET);
    t.match(await client.until(/ok[^]*\r\n\r\n/), /ok[^]*200 OK/, "the second is answered by a new connection");
    heads = [];
    client.send("POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 2\r\n\r\nhi");
    t.match(await client.until(/HTTP\/1\.1 502/), /HTTP\/1\.1 502/);
    t.same(heads, ["POST"]);
  });

  for (const closes of [false, true]) {
    test(`an answer before the body has come, from an app that ${closes ? "closes" : "goes on"}: the client's connection does not hang`, async (t, mesh) => {
      const pair = await mesh.inFrontOf((request, response) => {
        if (request.url !== "/large") return void response.end("next");
        if (closes) response.setHeader("connection", "close");
        response.writeHead(413).end("too large");
      });
      const client = mesh.connect(pair.outboundPort);
      const chunk = "x".repeat(65_536);
      client.send(`POST /large HTTP/1.1\r\nHost: orders\r\nContent-Length: ${chunk.length * 200}\r\n\r\n`);
      for (let index = 0; index < 200 && !client.socket.destroyed; index++) {
        client.send(chunk);
        if (index % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      // An app that closes with the body unread resets: its answer may be lost on the way, then it is a 502.
      t.match(await client.until(/too large|closed the connection/), closes ? /^HTTP\/1\.1 (413|502) / : /^HTTP\/1\.1 413 [^]*too large/);
      if (!client.socket.destroyed) client.send("GET /next HTTP/1.1\r\nHost: orders\r\n\r\n");
      const text = await client.until(/next/, 3000);
      t.ok(text.includes("next") || client.socket.readableEnded || client.socket.destroyed, "the connection is used or ended");
    });
  }
}
