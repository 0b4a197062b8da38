// How bodies are framed on each side (RFC 9112 sections 6 and 7): chunked, by length, by the end of the connection, and from one to the other.
import type { EngineName } from "../../../sidecar/engine.ts";
import { ask, GET, http1Tests, onHeads } from "../../support/http1-fixture.ts";

const GET_10 = "GET / HTTP/1.0\r\nHost: orders\r\n\r\n";

/** Registers the tests for one engine. */
export function http1Framing(engine: EngineName): void {
  const test = http1Tests(engine);

  test("an HTTP/1.0 client gets a chunked answer without its framing, ended by the connection", async (t, mesh) => {
    const appPort = await mesh.rawApp((socket) =>
      onHeads(socket, () => {
        socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5;a=b\r\nhel");
        setTimeout(() => socket.write("lo\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"), 20);
      }),
    );
    const pair = await mesh.pairFor(appPort);
    for (const keepAlive of ["", "Connection: keep-alive\r\n"]) {
      const client = mesh.connect(pair.outboundPort);
      client.send(GET_10.replace("\r\n\r\n", `\r\n${keepAlive}\r\n`));
      t.ok(await client.ended(), "without a length only the end tells");
      t.match(client.text(), /\r\n\r\nhello world$/);
      t.notMatch(client.text(), /transfer-encoding|keep-alive|x-sum: /i);
    }
  });

  test("a close-delimited answer is framed for a client of HTTP/1.1, whose connection goes on", async (t, mesh) => {
    const appPort = await mesh.rawApp((socket) =>
      onHeads(socket, () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\nfirst,");
        setTimeout(() => socket.end("second"), 20);
      }),
    );
    const pair = await mesh.pairFor(appPort);
    const client = mesh.connect(pair.outboundPort);
    for (const round of [1, 2]) {
      client.send(GET);
      const text = await client.until(new RegExp(`(\\r\\n0\\r\\n\\r\\n[^]*){${round}}$`));
      t.equal(text.split("transfer-encoding: chunked").length - 1, round);
      t.equal(text.split("second").length - 1, round);
    }
    const old = mesh.connect(pair.outboundPort);
    old.send(GET_10);
    t.ok(await old.ended());
    t.match(old.text(), /\r\n\r\nfirst,second$/);
    t.match(await ask(pair.outboundPort), { status: 200, body: "first,second" });
  });

  test("a close-delimited answer that is cut off is never taken for a whole one", async (t, mesh) => {
    const appPort = await mesh.rawApp((socket) =>
      onHeads(socket, () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\nhalf");
        setTimeout(() => socket.resetAndDestroy(), 50);
      }),
    );
    const pair = await mesh.pairFor(appPort);
    await t.rejects(ask(pair.outboundPort));
    const client = mesh.connect(pair.outboundPort);
    client.send(GET);
    t.ok(await client.ended());
    t.notMatch(client.text(), /\r\n0\r\n\r\n/);
  });

  for (const keepAlive of [true, false]) {
    test(`an app of HTTP/1.0 ${keepAlive ? "with" : "without"} keep-alive is ${keepAlive ? "" : "never "}asked again on its connection`, async (t, mesh) => {
      const requests: number[] = [];
      const appPort = await mesh.rawApp((socket, index) =>
        onHeads(socket, () => {
          requests.push(index);
          socket.write(`HTTP/1.0 200 OK\r\n${keepAlive ? "Connection: keep-alive\r\n" : ""}Content-Length: 2\r\n\r\nok`);
        }),
      );
      const pair = await mesh.pairFor(appPort);
      const client = mesh.connect(pair.outboundPort);
      for (const round of [1, 2, 3]) {
        client.send(GET);
        t.equal((await client.until(new RegExp(`(ok[^]*){${round}}$`))).split("HTTP/1.1 200 OK").length - 1, round, "answered as HTTP/1.1");
      }
      t.same(requests, keepAlive ? [0, 0, 0] : [0, 1, 2]);
    });
  }

  test("trailers pass both ways; chunk extensions do no harm", async (t, mesh) => {
    let text = "";
    const appPort = await mesh.rawApp((socket) =>
      socket.on("data", (chunk) => {
        text += chunk.toString("latin1");
        if (!/\r\n0(;[^\r]*)?\r\n([^\r]+\r\n)*\r\n$/.test(text)) return;
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;q="a;b"\r\nok\r\n0;last\r\nX-Answer-Sum: 2\r\n\r\n');
      }),
    );
    const pair = await mesh.pairFor(appPort);
    const client = mesh.connect(pair.outboundPort);
    client.send(
      'POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c="d e"\r\nhello\r\n0;z\r\nX-Request-Sum: 1\r\n\r\n',
    );
    const answer = await client.until(/\r\n0[^\r]*\r\n([^\r]+\r\n)*\r\n$/);
    t.match(answer, /\r\nok\r\n0[^\r]*\r\nx-answer-sum: 2\r\n\r\n$/i);
    // http-proxy forwards no trailers of requests.
    t.match(text, engine === "splice" ? /\r\nhello\r\n0[^\r]*\r\nx-request-sum: 1\r\n\r\n$/i : /\r\nhello\r\n0\r\n\r\n$/);
  });

  test("answers without a body keep their fields, and the next answer on the connection is read right", async (t, mesh) => {
    const answers = [
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
      "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
      "HTTP/1.1 204 No Content\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast",
    ];
    const appPort = await mesh.rawApp((socket) => onHeads(socket, (_head, index) => socket.write(answers[index % 4] ?? "")));
    const pair = await mesh.pairFor(appPort);
    const client = mesh.connect(pair.outboundPort);
    client.send(`HEAD / HTTP/1.1\r\nHost: orders\r\n\r\n${GET}${GET}${GET}`);
    const text = await client.until(/last$/);
    t.same(
      [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status),
      ["200", "304", "204", "200"],
    );
    t.match(text, /\r\n\r\nlast$/);
    t.notMatch(text, /\r\n\r\n(0|100)\r\n/, "no chunk framing after a HEAD");
  });
}
