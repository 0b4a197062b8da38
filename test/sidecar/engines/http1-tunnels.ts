// Upgrades (RFC 9110 section 7.8) and CONNECT (section 9.3.6): bytes that come too early, refusals, and how a tunnel ends.
import type { Socket } from "node:net";
import type { EngineName } from "../../../sidecar/engine.ts";
import { GET, http1Tests, onHeads } from "../../support/http1-fixture.ts";
import { eventually } from "../../support/raw-peers.ts";

const UPGRADE = "GET / HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
const SWITCHING = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
const CONNECT = "CONNECT orders:80 HTTP/1.1\r\nHost: orders:80\r\n\r\n";

/** Echoes all bytes, and ends when the other side has ended. */
function echo(socket: Socket): void {
  socket.on("data", (chunk) => socket.write(chunk));
  socket.on("end", () => socket.end());
}

/** Registers the tests for one engine. */
export function http1Tunnels(engine: EngineName): void {
  const test = http1Tests(engine);

  /** Answers an upgrade, echoes what follows, and what came along. */
  function upgrading(socket: Socket): void {
    socket.once("data", (chunk: Buffer) => {
      const end = chunk.indexOf("\r\n\r\n") + 4;
      socket.write(`${SWITCHING}>`);
      if (chunk.length > end) socket.write(chunk.subarray(end));
      echo(socket);
    });
  }

  test("an upgrade passes a megabyte both ways, and the bytes that were sent along with it", async (t, mesh) => {
    const pair = await mesh.pairFor(await mesh.rawApp(upgrading));
    const client = mesh.connect(pair.outboundPort);
    client.send(`${UPGRADE}early;`);
    t.match(await client.until(/>early;$/), /^HTTP\/1\.1 101 [^]*\r\nupgrade: echo\r\n[^]*\r\n>early;$/i);
    const piece = "0123456789abcdef".repeat(4096);
    for (let index = 0; index < 16; index += 1) client.send(piece);
    t.ok(await eventually(() => client.text().length >= 16 * piece.length));
    t.ok(client.text().endsWith(`>early;${piece.repeat(16)}`));
    client.socket.end();
    t.ok(await client.ended(), "the app ended its side, too");
  });

  test("an app that refuses an upgrade answers in order; requests that come after it are read as requests", async (t, mesh) => {
    const heads: string[] = [];
    const appPort = await mesh.rawApp((socket) =>
      onHeads(socket, (head) => {
        heads.push(head.split(" ")[1] ?? "");
        socket.write("HTTP/1.1 426 Upgrade Required\r\nUpgrade: other\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno");
      }),
    );
    const pair = await mesh.pairFor(appPort);
    const client = mesh.connect(pair.outboundPort);
    client.send(UPGRADE);
    t.match(await client.until(/no/), /^HTTP\/1\.1 426 [^]*no/);
    client.send("GET /next HTTP/1.1\r\nHost: orders\r\n\r\n");
    await client.until(/no[^]*no/, 300);
    // http-proxy's connections end with a refused upgrade.
    t.same(heads, engine === "splice" ? ["/", "/next"] : ["/"]);
  });

  test("an app that switches without being asked is a 502, and its bytes reach nobody", async (t, mesh) => {
    const pair = await mesh.pairFor(await mesh.rawApp((socket) => onHeads(socket, () => socket.write(`${SWITCHING}poison`))));
    const client = mesh.connect(pair.outboundPort);
    client.send(GET);
    t.match(await client.until(/\r\n\r\n/), /^HTTP\/1\.1 502 /);
    t.notMatch(client.text(), /poison/);
  });

  test("an upgrade with a body is no tunnel: the body is forwarded, and what follows it is a request", async (t, mesh) => {
    const seen: string[] = [];
    const pair = await mesh.inFrontOf((request, response) => {
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () => {
        seen.push(`${request.url} ${body} ${request.headers.upgrade ?? "none"}`);
        response.end("done");
      });
    });
    const client = mesh.connect(pair.outboundPort);
    client.send(UPGRADE.replace("GET /", "POST /").replace("\r\n\r\n", "\r\nContent-Length: 4\r\n\r\nbody"));
    // http-proxy's engine takes every upgrade for a tunnel; node:http as the app refuses it by closing.
    if (engine === "compat") return void t.ok(await client.ended(4000).then(() => true));
    t.match(await client.until(/done/), /^HTTP\/1\.1 200 [^]*done/);
    t.same(seen, ["/ body none"]);
  });

  test("a tunnel that one side breaks off breaks on the other", async (t, mesh) => {
    const received: Socket[] = [];
    const appPort = await mesh.rawApp((socket) => {
      received.push(socket);
      upgrading(socket);
    });
    const pair = await mesh.pairFor(appPort);
    for (const breaks of ["client", "app"] as const) {
      const client = mesh.connect(pair.outboundPort);
      client.send(UPGRADE);
      await client.until(/>/);
      const appSide = received.at(-1) as Socket;
      const gone = new Promise((resolve) => appSide.once("close", resolve));
      if (breaks === "client") client.socket.resetAndDestroy();
      else appSide.resetAndDestroy();
      await gone;
      t.ok(await client.ended(), `broken off by the ${breaks}`);
    }
  });

  test("CONNECT: bytes sent along with the head and half-closes pass; two tunnels do not know of each other", async (t, mesh) => {
    const pair = await mesh.pairFor(await mesh.rawApp(echo), { protocol: "tcp" });
    const clients = [mesh.connect(pair.outboundPort, { allowHalfOpen: true }), mesh.connect(pair.outboundPort, { allowHalfOpen: true })];
    for (const [index, client] of clients.entries()) client.send(`${CONNECT}early ${index};`);
    for (const [index, client] of clients.entries()) {
      t.match(await client.until(/;$/), new RegExp(`^HTTP/1\\.1 200 [^]*\\r\\n\\r\\nearly ${index};$`));
      client.send(`late ${index}.`);
      client.socket.end();
      t.ok(await client.ended());
      t.match(client.text(), new RegExp(`\\r\\n\\r\\nearly ${index};late ${index}\\.$`), "the echo came after the client's end");
    }
  });

  test("CONNECT to an app that is not there is answered, not opened", async (t, mesh) => {
    const pair = await mesh.pairFor(1, { protocol: "tcp", otherInboundPorts: [] });
    const client = mesh.connect(pair.outboundPort);
    client.send(CONNECT);
    const text = await client.until(/\r\n\r\n/);
    // The mesh connection is what a tunnel needs; behind it the app's refusal ends it.
    if (/^HTTP\/1\.1 200/.test(text)) t.ok(await client.ended());
    else t.match(text, /^HTTP\/1\.1 50[23] /);
  });
}
