// How hosts are read and passed on where requests name their destination, on real ports.
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import t from "tap";
import type { EngineName } from "../../sidecar/engine.ts";
import { startMeshPair } from "../support/mesh-pair.ts";
import { connectRaw } from "../support/raw-peers.ts";

type Tap = Parameters<typeof connectRaw>[0];

async function fixture(t: Tap, engine: EngineName) {
  const hosts: string[] = [];
  const app = createServer((request, response) => {
    hosts.push(request.headers.host ?? "");
    response.end("app");
  }).listen(0, "127.0.0.1");
  await once(app, "listening");
  const pair = await startMeshPair({ appPort: (app.address() as AddressInfo).port, egress: "deny", engine });
  t.teardown(async () => {
    await pair.close();
    app.closeAllConnections();
    app.close();
  });
  const ask = async (host: string): Promise<number> => {
    const client = connectRaw(t, pair.outboundPort);
    client.send(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    await client.ended();
    return Number(/^HTTP\/1\.1 (\d{3})/.exec(client.text())?.[1] ?? 0);
  };
  return { hosts, pair, ask };
}

for (const engine of ["splice", "compat"] as const satisfies readonly EngineName[]) {
  t.test(`${engine}: a service is found however its name is spelled, and the app is told the name as it was sent`, async (t) => {
    const { hosts, ask } = await fixture(t, engine);
    const spellings = ["orders", "ORDERS", "Orders.", "orders:80", "oRDERS.:8080"];
    for (const host of spellings) t.equal(await ask(host), 200, host);
    t.strictSame(hosts, spellings);
  });

  t.test(`${engine}: no spelling of the sidecar's own address makes it call itself`, async (t) => {
    const { pair, ask } = await fixture(t, engine);
    for (const host of [
      "127.0.0.1",
      "127.0.0.1.",
      "127.1.2.3",
      "[::1]",
      "[0:0::1]",
      "[::ffff:127.0.0.1]",
      "[::ffff:7F00:1]",
      "LOCALHOST",
      "localhost.",
    ]) {
      t.equal(await ask(`${host}:${pair.outboundPort}`), 508, host);
    }
    for (const host of ["127.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1"]) t.equal(await ask(`${host}:${pair.outboundPort}`), 400, host);
  });

  t.test(`${engine}: what names no host is refused by either the engine or the destination, and never looked up`, async (t) => {
    const { hosts, ask } = await fixture(t, engine);
    for (const host of ["b\u00fccher", "ord%65rs", "or ders", "orders:0", "orders:65536", "orders..", "[orders]", "a,orders"]) {
      t.equal(await ask(host), 400, host);
    }
    t.equal(hosts.length, 0);
  });
}
