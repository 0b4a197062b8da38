import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import t from "tap";
import { withAutocannon } from "../../bench/load/autocannon.ts";

t.test("autocannon sends what it is told to, and its failures are counted", async (t) => {
  const seen = new Set<string>();
  let requests = 0;
  const server = createServer((request, response) => {
    let bytes = 0;
    request.on("data", (chunk: Buffer) => (bytes += chunk.length));
    request.on("end", () => {
      seen.add(`${request.method} ${request.url} ${request.headers.host} ${bytes}`);
      requests += 1;
      response.writeHead(requests === 3 ? 500 : 200).end("hello");
    });
  }).listen(0, "127.0.0.1");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/path`;

  const result = await withAutocannon({ url, host: "orders", connections: 1, durationS: 1, bodyBytes: 10_240 });
  t.same([...seen], ["POST /path orders 10240"]);
  t.equal(result.failed, 1);
  t.ok(result.requests > 3 && result.requests <= requests);
  t.ok(result.perSecond > 0 && result.p999Ms !== null);
});
