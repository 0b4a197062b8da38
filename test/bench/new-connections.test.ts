import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import t from "tap";
import { runNewConnections } from "../../bench/load/new-connections.ts";

t.test("each request comes over a connection of its own, and each bad answer is counted", async (t) => {
  let connections = 0;
  let seen = 0;
  let keptAlive = 0;
  const server = createServer((request, response) => {
    seen += 1;
    if (request.headers.connection !== "close") keptAlive += 1;
    if (seen === 3) response.writeHead(500).end();
    else if (seen === 5) request.socket.destroy();
    else response.end("hello");
  }).listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  server.on("connection", () => (connections += 1));
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;

  const result = await runNewConnections({ url, host: null, connections: 2, durationS: 1 });
  t.equal(connections, seen);
  t.equal(keptAlive, 0);
  t.equal(result.failed, 2);
  t.equal(result.requests, seen - 2);
  t.ok(result.p50Ms > 0 && result.p50Ms <= result.p999Ms);
});
