// Clients that break off while the sidecar is still dialling, and leaves that are renewed while requests run.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, request } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { connect as connectTls } from "node:tls";
import t from "tap";
import { sniFor } from "../../../core/spiffe.ts";
import { startMeshPair } from "../../support/mesh-pair.ts";
import { connectRaw, eventually } from "../../support/raw-peers.ts";

type Tap = { teardown(run: () => unknown): void };

/** A port where connecting takes for ever: the queue of a process that never accepts is full. */
async function fullPort(t: Tap): Promise<number> {
  const code = `const s = require("net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
    require("fs").writeSync(1, String(s.address().port) + "\\n"); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30000); });`;
  const child = spawn(process.execPath, ["-e", code], { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => child.kill("SIGKILL"));
  const [line] = await once(child.stdout, "data");
  const port = Number(String(line));
  for (let index = 0; index < 8; index++) {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    t.teardown(() => socket.destroy());
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  return port;
}

t.test("inbound: a mesh client that resets while the app is dialled harms nobody", async (t) => {
  const appPort = await fullPort(t);
  const pair = await startMeshPair({ appPort, protocol: "tcp" });
  t.teardown(() => pair.close());
  const { certificateChainPem, privateKeyPem, rootsPem } = pair.caller.current();
  for (const alpn of ["remora/tcp", "remora/h1", "remora/h2"]) {
    const carrier = connect(pair.inboundPort, "127.0.0.1");
    carrier.on("error", () => {});
    const socket = connectTls({
      socket: carrier,
      cert: certificateChainPem,
      key: privateKeyPem,
      ca: rootsPem,
      servername: sniFor(pair.callee.identity, appPort),
      ALPNProtocols: [alpn],
      checkServerIdentity: () => undefined,
    });
    socket.on("error", () => {});
    await once(socket, "secureConnect");
    socket.write(alpn === "remora/h1" ? "GET / HTTP/1.1\r\nHost: orders\r\n\r\n" : "hello");
    await new Promise((resolve) => setTimeout(resolve, 50));
    carrier.resetAndDestroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  t.ok(await eventually(() => pair.calleeShed.inFlight === 0));
});

t.test("outbound: a CONNECT client that resets while the destination is dialled harms nobody", async (t) => {
  const appPort = await fullPort(t);
  const pair = await startMeshPair({ appPort: 1 });
  t.teardown(() => pair.close());
  const client = connectRaw(t, pair.outboundPort);
  client.send(`CONNECT 127.0.0.1:${appPort} HTTP/1.1\r\nHost: x\r\n\r\nearly`);
  await new Promise((resolve) => setTimeout(resolve, 100));
  client.socket.resetAndDestroy();
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.pass("still here");
});

t.test("renewal of both leaves under load fails no request and closes no connection", async (t) => {
  const app = createServer((incoming, response) => incoming.pipe(response)).listen(0, "127.0.0.1");
  await once(app, "listening");
  const connections = new Set<unknown>();
  app.on("connection", (socket) => connections.add(socket));
  const pair = await startMeshPair({ appPort: (app.address() as AddressInfo).port });
  t.teardown(async () => {
    app.closeAllConnections();
    app.close();
    await pair.close();
  });
  let failed = 0;
  let passed = 0;
  const startedMs = Date.now();
  /** On a slow machine until there is something to judge. */
  const isEnough = () => Date.now() > startedMs + (passed > 50 ? 1500 : 60_000);
  async function load(): Promise<void> {
    while (!isEnough()) {
      const sent = request({ host: "127.0.0.1", port: pair.outboundPort, method: "POST", headers: { host: "orders" } });
      sent.end("body");
      const [answer] = await once(sent, "response");
      let body = "";
      for await (const chunk of answer) body += chunk;
      if (answer.statusCode === 200 && body === "body") passed += 1;
      else failed += 1;
    }
  }
  const renewals = setInterval(() => pair.renew(), 100);
  t.teardown(() => clearInterval(renewals));
  await Promise.all(Array.from({ length: 4 }, load));
  t.equal(failed, 0);
  t.ok(passed > 50, `${passed} requests`);
  t.ok(connections.size <= 8, `${connections.size} connections to the app: the old ones went on`);
});

t.test("a reader that stops in the middle of 500 MB: nothing piles up, and nothing is left when it goes", async (t) => {
  const chunk = Buffer.alloc(1024 * 1024, 1);
  const app = createServer(async (_request, response) => {
    for (let index = 0; index < 500 && !response.destroyed; index++) {
      if (!response.write(chunk)) await Promise.race([once(response, "drain"), once(response, "close")]);
    }
    response.end();
  }).listen(0, "127.0.0.1");
  await once(app, "listening");
  const pair = await startMeshPair({ appPort: (app.address() as AddressInfo).port });
  t.teardown(async () => {
    app.closeAllConnections();
    app.close();
    await pair.close();
  });
  const sent = request({ host: "127.0.0.1", port: pair.outboundPort, headers: { host: "orders" }, agent: false }).end();
  sent.on("error", () => {});
  const [answer] = await once(sent, "response");
  // Reads a little and stops: what the two sidecars and the app hold now is all that may pile up.
  answer.once("data", () => answer.pause());
  await new Promise((resolve) => setTimeout(resolve, 200));
  const before = process.memoryUsage();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const after = process.memoryUsage();
  const grownMiB = (after.external + after.heapUsed - before.external - before.heapUsed) / 2 ** 20;
  t.ok(grownMiB < 16, `grown by ${grownMiB.toFixed(1)} MiB`);
  sent.destroy();
  t.ok(await eventually(() => pair.callerShed.inFlight === 0 && pair.calleeShed.inFlight === 0));
});
