// Clients that speak HTTP/1.1 as no well-behaved one does: they leave at the wrong moment, say half of it, or too much.
import { createServer } from "node:http";
import type { Socket } from "node:net";

import type { EngineName } from "../../../sidecar/engine.ts";
import { LIMITS } from "../../../sidecar/http1/strictness.ts";
import { eventually } from "../../support/raw-peers.ts";
import { GET, http1Tests } from "../../support/http1-fixture.ts";

/** Registers the tests for one engine. */
export function http1Clients(engine: EngineName): void {
  const test = http1Tests(engine);

  test("a client that leaves while its destination is looked up is finished once and takes no place", async (_t, mesh) => {
    const waiting: Array<() => void> = [];
    const pair = await mesh.inFrontOf((_request, response) => response.end("ok"), { lookup: (give) => waiting.push(give) });
    for (const head of [
      GET,
      "GET / HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
      "CONNECT orders:80 HTTP/1.1\r\nHost: orders:80\r\n\r\n",
    ]) {
      for (const leave of ["end", "resetAndDestroy"] as const) {
        const client = mesh.connect(pair.outboundPort);
        client.send(head);
        await eventually(() => waiting.length === 1);
        client.socket[leave]();
        await new Promise((resolve) => setTimeout(resolve, 50));
        waiting.pop()?.();
      }
    }
  });

  test("pipelined requests whose client leaves are all given up", async (_t, mesh) => {
    const pair = await mesh.inFrontOf(() => {});
    const client = mesh.connect(pair.outboundPort);
    client.send(GET.repeat(20));
    await eventually(() => pair.calleeLedger.begun > 0);
    client.socket.resetAndDestroy();
  });

  test("Expect: 100-continue: a refused request is not asked for its body; an accepted one is", async (t, mesh) => {
    const pair = await mesh.inFrontOf((request, response) => request.pipe(response), { rateLimit: "1/m" });
    const head = "POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    const client = mesh.connect(pair.outboundPort);
    client.send(head);
    t.match(await client.until(/100 Continue\r\n\r\n/), /^HTTP\/1\.1 100 Continue/);
    client.send("hello");
    t.match(await client.until(/hello/), /200 OK[^]*hello/);
    const refused = mesh.connect(pair.outboundPort);
    refused.send(head.replace("orders", "bad host!"));
    t.match(await refused.until(/\r\n\r\n/), /^HTTP\/1\.1 400/);
  });

  test("Expect: 100-continue: a client that leaves takes its upstream request with it", async (t, mesh) => {
    let closed = 0;
    const pair = await mesh.inFrontOf((request) => {
      request.resume();
      request.socket.once("close", () => {
        closed += 1;
      });
    });
    const client = mesh.connect(pair.outboundPort);
    client.send("POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi");
    await eventually(() => pair.calleeLedger.begun === 1);
    await new Promise((resolve) => setTimeout(resolve, 100));
    client.socket.destroy();
    t.ok(await eventually(() => closed === 1));
  });

  test("HTTP/1.0 clients are answered, with and without keep-alive, and without Host where the destination is known", async (t, mesh) => {
    const pair = await mesh.inFrontOf(
      (request, response) => {
        response.write(`host ${request.headers.host}`);
        response.end(";");
      },
      { mode: "permissive" },
    );
    const plain = mesh.connect(pair.outboundPort);
    plain.send("GET / HTTP/1.0\r\nHost: orders\r\n\r\n");
    t.ok(await plain.ended());
    t.match(plain.text(), /^HTTP\/1\.1 200[^]*\r\n\r\nhost orders;$/, "no chunked framing");
    const alive = mesh.connect(pair.outboundPort);
    alive.send("GET / HTTP/1.0\r\nHost: orders\r\nConnection: keep-alive\r\n\r\n");
    t.match(await alive.until(/;/), /\r\n\r\nhost orders;$/);
    const hostless = mesh.connect(pair.inboundPort);
    hostless.send("GET / HTTP/1.0\r\n\r\n");
    t.match(await hostless.until(/;/), /\r\n\r\nhost 127\.0\.0\.1:\d+;$/);
  });

  test("ambiguous heads are refused", async (t, mesh) => {
    const seen: string[] = [];
    const pair = await mesh.inFrontOf(
      (request, response) => {
        seen.push(request.url ?? "");
        response.end("ok");
      },
      { mode: "permissive" },
    );
    for (const head of [
      "GET / HTTP/1.1\r\nHost: orders\r\nHost: other\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: orders\r\nHost: orders\r\n\r\n",
      "GET http://user:hunter2@orders/ HTTP/1.1\r\nHost: orders\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: user:hunter2@orders\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
      "GET / HTTP/1.1\r\nHost:\r\n\r\n",
    ]) {
      for (const port of [pair.outboundPort, pair.inboundPort]) {
        if (head.includes("Host:\r\n") && port === pair.inboundPort) continue;
        const client = mesh.connect(port);
        client.send(head);
        t.match(await client.until(/\r\n\r\n/), /^HTTP\/1\.1 (400|501) /, JSON.stringify(head));
        client.socket.destroy();
      }
    }
    t.same(seen, []);
    for (const { authority, refusal } of [...pair.callerLedger.finished, ...pair.calleeLedger.finished]) {
      t.notMatch(`${authority} ${refusal?.detail}`, /hunter2/, "a password in an authority is not logged");
    }
  });

  test("a head that trickles in is given up after its time", async (t, mesh) => {
    const pair = await mesh.inFrontOf((_request, response) => response.end("ok"), { timeouts: { headMs: 300 } });
    const client = mesh.connect(pair.outboundPort);
    client.send("GET / HTTP/1.1\r\nHost: orders\r\n");
    const timer = setInterval(() => client.send("X: y\r\n"), 50);
    t.teardown(() => clearInterval(timer));
    t.ok(await client.ended());
    clearInterval(timer);
    t.match(client.text(), /^HTTP\/1\.1 408 /);
    t.match(await pair.callerMetrics.registry.metrics(), /remora_refused_total\{direction="outbound",reason="timeout"\} 1\n/);
  });

  // By intent (row `target_too_long`): compat takes whatever fits into a head.
  const longest = engine === "splice" ? LIMITS.targetBytes : 60_000;
  const tooLong = engine === "splice" ? 414 : 431;
  test(`a target of ${longest} bytes passes; a longer one is answered ${tooLong}`, async (t, mesh) => {
    const app = createServer({ maxHeaderSize: 128 * 1024 }, (request, response) => response.end(`<${request.url?.length}>`));
    const pair = await mesh.pairFor(await mesh.listen(app));
    const client = mesh.connect(pair.outboundPort);
    client.send(`GET /${"a".repeat(longest - 1)} HTTP/1.1\r\nHost: orders\r\n\r\n`);
    t.match(await client.until(/<\d+>/), `<${longest}>`);
    client.send(`GET /${"a".repeat(engine === "splice" ? longest : 70_000)} HTTP/1.1\r\nHost: orders\r\n\r\n`);
    t.match(await client.until(new RegExp(` ${tooLong} `)), `HTTP/1.1 ${tooLong} `);
    t.ok(await client.ended());
  });

  test("a client that half-closes before its answer counts as gone, as with nginx and Envoy: nothing is left behind", async (t, mesh) => {
    const pair = await mesh.inFrontOf((_request, response) => setTimeout(() => response.end("late"), 100));
    const client = mesh.connect(pair.outboundPort, { allowHalfOpen: true });
    client.send(GET);
    client.socket.end();
    t.ok(await client.ended());
  });

  test("upgrades: bytes sent along pass; each abrupt end reaches the other side; a refused one does not hang", async (t, mesh) => {
    const received: Socket[] = [];
    const appPort = await mesh.rawApp((socket) => {
      received.push(socket);
      socket.once("data", (head) => {
        if (String(head).includes("/no")) return void socket.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n>");
        socket.on("data", (chunk) => socket.write(chunk));
        const early = String(head).split("\r\n\r\n")[1] ?? "";
        if (early !== "") socket.write(early);
      });
    });
    const pair = await mesh.pairFor(appPort);
    const upgrade = (path: string) => `GET ${path} HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`;
    const early = mesh.connect(pair.outboundPort);
    early.send(`${upgrade("/")}early`);
    t.match(await early.until(/early/), /^HTTP\/1\.1 101 [^]*\r\n\r\n>early/);
    const appSide = received.at(-1) as Socket;
    const gone = new Promise((resolve) => appSide.once("close", resolve));
    early.socket.resetAndDestroy();
    await gone;
    t.pass("the app hears of a client that broke off");

    const other = mesh.connect(pair.outboundPort);
    other.send(upgrade("/"));
    await other.until(/>/);
    received.at(-1)?.resetAndDestroy();
    t.ok(await other.ended(), "the client hears of an app that broke off");

    const refused = mesh.connect(pair.outboundPort, { allowHalfOpen: true });
    refused.send(upgrade("/no"));
    t.match(await refused.until(/no$/), /^HTTP\/1\.1 403/);
    const failed = mesh.connect(pair.outboundPort, { allowHalfOpen: true });
    failed.send("GET / HTTP/1.1\r\nHost: bad host!\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    t.match(await failed.until(/\r\n\r\n/), /^HTTP\/1\.1 400/);
  });

  test("a refused CONNECT ends, though the client keeps its side open", async (t, mesh) => {
    const pair = await mesh.inFrontOf((_request, response) => response.end("ok"));
    const client = mesh.connect(pair.outboundPort, { allowHalfOpen: true });
    client.send("CONNECT orders HTTP/1.1\r\nHost: orders\r\n\r\n");
    t.match(await client.until(/\r\n\r\n/), /^HTTP\/1\.1 400/);
    const open = async () => /remora_connections\{direction="outbound"\} (\d+)/.exec(await pair.callerMetrics.registry.metrics())?.[1];
    let left = await open();
    for (let waits = 0; left !== "0" && waits < 40; waits++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      left = await open();
    }
    t.equal(left, "0");
  });
}
