// Found by the differential fuzz: node:http throws at a Trailer field where a body is not chunked, out of reach of any caller, and took the process with it.
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import t from "tap";
import { startMeshPair } from "../../support/mesh-pair.ts";
import { connectRaw } from "../../support/raw-peers.ts";

t.test("a Trailer field without a chunked body, from a client and from an app, is harmless in both engines", async (t) => {
  const app = createServer((request, response) => {
    response.socket?.end("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nContent-Length: 4\r\n\r\nfine");
    request.resume();
  }).listen(0, "127.0.0.1");
  await once(app, "listening");
  t.teardown(() => {
    app.closeAllConnections();
    app.close();
  });
  for (const engine of ["compat", "splice"] as const) {
    const pair = await startMeshPair({ appPort: (app.address() as AddressInfo).port, engine });
    t.teardown(() => pair.close());
    for (const head of ["GET / HTTP/1.1", "POST / HTTP/1.1\r\nContent-Length: 0", "HEAD / HTTP/1.1"]) {
      const client = connectRaw(t, pair.outboundPort);
      client.send(`${head}\r\nHost: orders\r\nTrailer: X-Sum\r\n\r\n`);
      t.match(await client.until(/\r\n\r\n/), /^HTTP\/1\.1 200 /, `${engine}: ${head}`);
    }
  }
});
