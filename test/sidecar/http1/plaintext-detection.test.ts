// A permissive workload serves plaintext, and what is not HTTP goes to the app as it is. Bytes that the protocol detection does not take for HTTP, but an app
// might, must not be a way past the stages: no client may tell the app who it is.
import t from "tap";
import { startMeshPair } from "../../support/mesh-pair.ts";
import { connectRaw, startRawApp } from "../../support/raw-peers.ts";

const FORGED = "spiffe://cluster.local/ns/demo/sa/admin";
const FIELDS = `Host: orders\r\nX-Remora-Client-Id: ${FORGED}\r\n\r\n`;

/** First bytes from which lenient servers read a request. */
const OPENINGS = {
  "an empty line": `\r\nGET / HTTP/1.1\r\n${FIELDS}`,
  "many empty lines": `${"\r\n".repeat(40)}GET / HTTP/1.1\r\n${FIELDS}`,
  "a bare LF": `\nGET / HTTP/1.1\r\n${FIELDS}`,
  "a method in lower case": `get / HTTP/1.1\r\n${FIELDS}`,
  "a method of other token characters": `X! / HTTP/1.1\r\n${FIELDS}`,
  "a long method": `${"M".repeat(40)} / HTTP/1.1\r\n${FIELDS}`,
  "no version": `GET /\r\n${FIELDS}`,
  "a version in lower case": `GET / http/1.1\r\n${FIELDS}`,
  "a tab for a space": `GET\t/\tHTTP/1.1\r\n${FIELDS}`,
  "a space before the method": ` GET / HTTP/1.1\r\n${FIELDS}`,
} as const;

for (const engine of ["splice", "compat"] as const) {
  for (const protocol of ["detect", "http1"] as const) {
    t.test(`${engine}, a port of protocol ${protocol}: no opening of a request carries an identity past the stages`, async (t) => {
      let seen = "";
      const appPort = await startRawApp(t, (socket) => {
        socket.on("data", (chunk) => {
          seen += chunk.toString("latin1");
          socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        });
      });
      const pair = await startMeshPair({ appPort, mode: "permissive", protocol, engine });
      t.teardown(() => pair.close());
      const clients = Object.values(OPENINGS).map((opening) => {
        const client = connectRaw(t, pair.inboundPort);
        client.send(opening);
        return client;
      });
      for (const client of clients) await client.until(/\r\n\r\n/, 1500);
      const plain = connectRaw(t, pair.inboundPort);
      plain.send(`GET /plain HTTP/1.1\r\n${FIELDS}`);
      t.match(await plain.until(/ok$/), /^HTTP\/1\.1 200 /, "an ordinary request is served");
      t.match(seen, /GET \/plain /);
      t.notOk(seen.includes(FORGED), "and none of them tells the app who it is");
    });
  }
}

t.test("nor does one that comes in parts, slower than the detection waits", async (t) => {
  let seen = "";
  const appPort = await startRawApp(t, (socket) => {
    socket.on("data", (chunk) => {
      seen += chunk.toString("latin1");
    });
  });
  const pair = await startMeshPair({ appPort, mode: "permissive", protocol: "detect" });
  t.teardown(() => pair.close());
  const request = `GET / HTTP/1.1\r\n${FIELDS}`;
  const clients = ["\r\n".repeat(40), "G", "GET ", "GET /", "\r\nGET / HT"].map((first) => {
    const client = connectRaw(t, pair.inboundPort);
    client.send(first);
    const isBegun = request.startsWith(first.trim());
    return { client, rest: isBegun ? request.slice(first.trim().length) : request };
  });
  // Longer than the pair's detection waits for a decision; nothing is to be seen from outside when it has made one.
  await new Promise((resolve) => setTimeout(resolve, 500));
  for (const { client, rest } of clients) client.send(rest);
  for (const { client } of clients) await client.until(/\r\n\r\n/, 500);
  t.notOk(seen.includes(FORGED));
});
