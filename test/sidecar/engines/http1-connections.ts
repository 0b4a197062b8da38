// How connections live on and end (RFC 9112 section 9), on each of the four sides: client and caller's sidecar, both sidecars, callee's sidecar and app.
import { createServer } from "node:http";
import type { Socket } from "node:net";
import type { EngineName } from "../../../sidecar/engine.ts";
import { ask, GET, http1Tests, onHeads } from "../../support/http1-fixture.ts";
import { connectMesh } from "../../support/mesh-client.ts";
import { connectRaw, eventually } from "../../support/raw-peers.ts";
import { listenTo } from "../../support/raw-exchange.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const POST = "POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 2\r\n\r\nhi";

/** Registers the tests for one engine. */
export function http1Connections(engine: EngineName): void {
  const test = http1Tests(engine);

  test("the time for which the app keeps idle connections is kept: no request runs into its end", async (t, mesh) => {
    const app = createServer((_request, response) => response.end("ok"));
    app.keepAliveTimeout = 1000;
    let answered = 0;
    app.on("request", () => {
      answered += 1;
    });
    const pair = await mesh.pairFor(await mesh.listen(app));
    const client = mesh.connect(pair.outboundPort);
    for (const pauseMs of [940, 980, 1000, 1020]) {
      client.send(POST);
      await eventually(() => client.text().split("200 OK").length - 1 === answered && answered > 0);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    t.equal(answered, 4);
    t.equal(client.text().split("HTTP/1.1 200 OK").length, 5, client.text());
  });

  test("pipelined requests with bodies of each framing are answered in order, whole, however they are cut", async (t, mesh) => {
    const pair = await mesh.inFrontOf((request, response) => {
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () => setTimeout(() => response.end(`<${request.url} ${body}>`), request.url === "/0" ? 30 : 0));
    });
    const bytes = [
      "POST /0 HTTP/1.1\r\nHost: orders\r\nContent-Length: 3\r\n\r\none",
      "PUT /1 HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ntw\r\n1;x\r\no\r\n0\r\n\r\n",
      "GET /2 HTTP/1.1\r\nHost: orders\r\n\r\n",
      "POST /3 HTTP/1.1\r\nHost: orders\r\nContent-Length: 0\r\n\r\n",
      "POST /4 HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n",
    ].join("");
    for (const pieceBytes of [bytes.length, 1, 7, 64, 150]) {
      const client = mesh.connect(pair.outboundPort);
      client.socket.setNoDelay(true);
      for (let at = 0; at < bytes.length; at += pieceBytes) {
        client.send(bytes.slice(at, at + pieceBytes));
        if (at % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      const text = await client.until(/<\/4 >/);
      t.same(text.match(/<\/\d[^>]*>/g), ["</0 one>", "</1 two>", "</2 >", "</3 >", "</4 >"], `pieces of ${pieceBytes} bytes`);
    }
  });

  test("a client that closes after its answer leaves the connections behind its sidecar open for the next one", async (t, mesh) => {
    const heads: string[] = [];
    const sockets = new Set<number>();
    const appPort = await mesh.rawApp((socket, index) =>
      onHeads(socket, (head) => {
        heads.push(head);
        sockets.add(index);
        socket.write(OK);
      }),
    );
    const pair = await mesh.pairFor(appPort);
    for (let round = 0; round < 3; round += 1) {
      const client = mesh.connect(pair.outboundPort);
      client.send("GET / HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n");
      t.ok(await client.ended());
      t.match(client.text(), /connection: close\r\n[^]*ok$/i);
    }
    t.equal(sockets.size, 1);
    t.notOk(heads.some((head) => /connection: close/i.test(head)));
  });

  test("an app that closes after its answer: the client's connection goes on, the next request takes a new one", async (t, mesh) => {
    const sockets: number[] = [];
    const appPort = await mesh.rawApp((socket, index) =>
      onHeads(socket, () => {
        sockets.push(index);
        socket.end(OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
      }),
    );
    const pair = await mesh.pairFor(appPort);
    const client = mesh.connect(pair.outboundPort);
    for (const round of [1, 2, 3]) {
      client.send(POST);
      t.notMatch(await client.until(new RegExp(`(ok[^]*){${round}}$`)), /connection: close/i);
    }
    t.same(sockets, [0, 1, 2]);
  });

  test("the sidecars may close between each other: the client's connection goes on", async (t, mesh) => {
    const pair = await mesh.inFrontOf((_request, response) => response.end("ok"));
    const client = mesh.connect(pair.outboundPort);
    client.send(GET);
    await client.until(/ok/);
    pair.drain("inbound");
    for (const round of [2, 3]) {
      client.send(POST);
      t.notMatch(await client.until(new RegExp(`(ok[^]*){${round}}`)), /connection: close/i);
    }
    t.equal(client.text().split("200 OK").length, 4);
  });

  test("a peer's sidecar that asks to close is answered and closed", async (t, mesh) => {
    const appPort = await mesh.rawApp((socket) => onHeads(socket, () => socket.write(OK)));
    const pair = await mesh.pairFor(appPort);
    const peer = listenTo(await connectMesh(t, pair, appPort));
    peer.stream.write("GET / HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n");
    t.ok(await peer.ended());
    t.match(peer.text(), /^HTTP\/1\.1 200 OK\r\n[^]*connection: close[^]*ok$/i);
  });

  test("a connection that the app closes while it is idle is not used again: neither a GET nor a POST fails", async (t, mesh) => {
    const sockets: Socket[] = [];
    const appPort = await mesh.rawApp((socket) => {
      sockets.push(socket);
      socket.on("data", () => socket.write(OK));
    });
    const pair = await mesh.pairFor(appPort);
    const client = mesh.connect(pair.outboundPort);
    let answers = 0;
    for (const request of [GET, POST, GET, POST]) {
      client.send(request);
      answers += 1;
      t.equal((await client.until(new RegExp(`(ok[^]*){${answers}}$`))).split("200 OK").length - 1, answers);
      const socket = sockets.at(-1) as Socket;
      const gone = new Promise((resolve) => socket.once("close", resolve));
      socket.end();
      await gone; // the sidecar has seen the end, and ended its side
    }
    t.equal(sockets.length, 4);
  });

  test("what can be sent again is sent again once, not for ever", async (t, mesh) => {
    let requests = 0;
    const appPort = await mesh.rawApp((socket) =>
      onHeads(socket, () => {
        requests += 1;
        if (requests === 1) socket.write(OK);
        else socket.resetAndDestroy();
      }),
    );
    const pair = await mesh.pairFor(appPort);
    t.match(await ask(pair.outboundPort), { status: 200 });
    t.match(await ask(pair.outboundPort), { status: 502, headers: { "x-remora-reason": "upstream_reset" } });
    t.equal(requests, 3, "once on the old connection, once on a new one");
  });

  test("bytes that an app sends without being asked reach nobody", async (t, mesh) => {
    const sockets: Socket[] = [];
    const appPort = await mesh.rawApp((socket, index) => {
      sockets.push(socket);
      onHeads(socket, () => socket.write(OK.replace("ok", `${index % 10}!`)));
    });
    const pair = await mesh.pairFor(appPort);
    t.equal((await ask(pair.outboundPort)).body, "0!");
    const [first] = sockets as [Socket];
    const gone = new Promise((resolve) => first.once("close", resolve));
    first.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
    first.end();
    await gone;
    const answers = await Promise.all(Array.from({ length: 5 }, () => ask(pair.outboundPort)));
    t.notOk(answers.some(({ body }) => body.includes("poison")));
    t.ok(answers.every(({ status }) => status === 200));
  });

  test("an answer and bytes behind it in one write: the answer is delivered, the bytes are not", async (t, mesh) => {
    const appPort = await mesh.rawApp((socket) =>
      onHeads(socket, () => socket.write(`${OK}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison`)),
    );
    const pair = await mesh.pairFor(appPort);
    const client = connectRaw(t, pair.outboundPort);
    for (const round of [1, 2, 3]) {
      client.send(GET);
      t.notMatch(await client.until(new RegExp(`(ok[^]*){${round}}$`)), /poison/);
    }
    t.equal(client.text().split("200 OK").length, 4);
    client.socket.destroy();
  });
}
