// Interim answers and `Expect: 100-continue` (RFC 9110 sections 10.1.1 and 15.2), from end to end.
import type { EngineName } from "../../../sidecar/engine.ts";
import { GET, http1Tests, onHeads } from "../../support/http1-fixture.ts";
import { eventually } from "../../support/raw-peers.ts";

const EXPECTING = "POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Registers the tests for one engine. */
export function http1Interim(engine: EngineName): void {
  const test = http1Tests(engine);

  test("interim answers come before the answer, in order, without what is between two neighbours", async (t, mesh) => {
    const appPort = await mesh.rawApp((socket) =>
      onHeads(socket, () => {
        socket.write("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Remora-Reason: forged\r\nConnection: x-own\r\n\r\n");
        socket.write(`HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n${OK}`);
      }),
    );
    const pair = await mesh.pairFor(appPort);
    const client = mesh.connect(pair.outboundPort);
    for (const round of [1, 2]) {
      client.send(GET);
      const text = await client.until(new RegExp(`(ok[^]*){${round}}$`));
      t.notMatch(text, /forged|connection: x-own/i);
      // http-proxy passes on no interim answers: an optional part (RFC 9110 section 15.2 lets a proxy drop only a 100 that it asked for).
      const expected = engine === "splice" ? ["103", "102", "103", "200"] : ["200"];
      const statuses = [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status);
      t.same(statuses.slice(-expected.length), expected, `request ${round} on the connection`);
    }
    if (engine === "splice") t.match(client.text(), /link: <\/a\.css>; rel=preload[^]*link: <\/b\.css>/i);
  });

  test("an HTTP/1.0 client gets no interim answers", async (t, mesh) => {
    const appPort = await mesh.rawApp((socket) =>
      onHeads(socket, () => socket.write(`HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${OK}`)),
    );
    const pair = await mesh.pairFor(appPort);
    const client = mesh.connect(pair.outboundPort);
    client.send("GET / HTTP/1.0\r\nHost: orders\r\n\r\n");
    t.match(await client.until(/ok$/), /^HTTP\/1\.1 200 /);
  });

  test("100-continue: the body comes after the 100, whole, and the answer after it", async (t, mesh) => {
    let body = "";
    const appPort = await mesh.rawApp((socket) => {
      let isAsked = false;
      socket.on("data", (chunk) => {
        body += chunk.toString("latin1");
        if (!isAsked && body.includes("\r\n\r\n")) {
          isAsked = true;
          socket.write("HTTP/1.1 100 Continue\r\n\r\n");
        }
        if (body.endsWith("hello")) socket.write(OK);
      });
    });
    const pair = await mesh.pairFor(appPort);
    const client = mesh.connect(pair.outboundPort);
    client.send(EXPECTING);
    t.match(await client.until(/100 Continue\r\n\r\n/), /^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    client.send("hello");
    t.match(await client.until(/ok$/), /200 OK[^]*ok$/);
    t.equal(client.text().split("100 Continue").length, 2, "one 100");
    t.match(body, /\r\n\r\nhello$/);
  });

  // In front of node:http and http-proxy the sidecar says 100 by itself, and the app is asked with the body only.
  if (engine === "splice") {
    test("100-continue: an app that refuses is heard before the body, and no request can be smuggled in its place", async (t, mesh) => {
      const heads: string[] = [];
      const appPort = await mesh.rawApp((socket) =>
        onHeads(socket, (head) => {
          heads.push(head.split(" ", 2).join(" "));
          socket.write("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
        }),
      );
      const pair = await mesh.pairFor(appPort);
      const client = mesh.connect(pair.outboundPort);
      client.send(EXPECTING.replace("5", "50"));
      t.match(await client.until(/no$/), /HTTP\/1\.1 417 [^]*no$/);
      client.send("GET /smuggled HTTP/1.1\r\nHost: orders\r\n\r\n");
      await client.ended(300);
      t.same(heads, ["POST /"]);
    });
  }

  test("100-continue: an app that never asks gets the body of a client that does not wait", async (t, mesh) => {
    let text = "";
    const appPort = await mesh.rawApp((socket) =>
      socket.on("data", (chunk) => {
        text += chunk.toString("latin1");
        if (text.endsWith("hello")) socket.write(OK);
      }),
    );
    const pair = await mesh.pairFor(appPort);
    const client = mesh.connect(pair.outboundPort);
    client.send(`${EXPECTING}hello`);
    t.match(await client.until(/ok$/), /200 OK[^]*ok$/);
    t.ok(await eventually(() => text.endsWith("hello")));
  });
}
