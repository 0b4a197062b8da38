import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import t from "tap";
import { systemClock } from "../../../core/clock.ts";
import { type RelayEnd, relay } from "../../../sidecar/transport/relay.ts";

interface Pair {
  readonly client: Socket;
  readonly app: Socket;
  readonly end: Promise<RelayEnd>;
}

/** A client and an app joined by a relay, on real sockets. */
async function pair(t: Tap, idleTimeoutMs = 0): Promise<Pair> {
  const apps: Server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  const entry: Server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  t.teardown(() => {
    apps.close();
    entry.close();
  });
  await Promise.all([once(apps, "listening"), once(entry, "listening")]);
  const client = connect({ port: (entry.address() as AddressInfo).port, host: "127.0.0.1", allowHalfOpen: true });
  const [accepted] = (await once(entry, "connection")) as [Socket];
  const dialled = connect({ port: (apps.address() as AddressInfo).port, host: "127.0.0.1", allowHalfOpen: true });
  const [app] = (await once(apps, "connection")) as [Socket];
  t.teardown(() => {
    for (const socket of [client, accepted, dialled, app]) socket.destroy();
  });
  for (const socket of [client, app]) socket.on("error", () => {});
  const end = new Promise<RelayEnd>((resolve) => relay(accepted, dialled, { clock: systemClock, idleTimeoutMs }, resolve));
  return { client, app, end };
}

type Tap = { teardown(run: () => void): void };

async function readAll(socket: Socket): Promise<Buffer> {
  // Not `for await`: it destroys the socket when the reading side ends.
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(socket, "end");
  return Buffer.concat(chunks);
}

t.test("bytes go both ways, and a half-close is passed on while the other way stays open", async (t) => {
  const { client, app, end } = await pair(t);
  client.end("question");
  t.equal(String(await readAll(app)), "question");
  t.equal(client.writableFinished, true);
  app.end("answer after the end of the question");
  t.equal(String(await readAll(client)), "answer after the end of the question");
  t.match(await end, { cause: "closed", bytesForward: 8, bytesBack: 36 });
});

t.test("a reset on one side resets the other", async (t) => {
  const { client, app, end } = await pair(t);
  client.write("x");
  await once(app, "data");
  const failed = once(app, "error");
  app.on("data", () => {});
  client.resetAndDestroy();
  const [error] = await failed;
  t.equal((error as NodeJS.ErrnoException).code, "ECONNRESET");
  t.match(await end, { cause: "reset" });
});

t.test("a slow reader holds the sender back instead of growing the heap", async (t) => {
  const { client, app } = await pair(t);
  app.pause();
  let accepted = 0;
  const chunk = Buffer.alloc(64 * 1024);
  const stopAt = Date.now() + 700;
  while (Date.now() < stopAt && accepted < 256 * 1024 * 1024) {
    if (client.write(chunk)) accepted += chunk.length;
    else {
      const drained = await Promise.race([
        once(client, "drain").then(() => true),
        new Promise((resolve) => setTimeout(resolve, 150, false)),
      ]);
      if (drained === false) break;
      accepted += chunk.length;
    }
  }
  t.ok(accepted < 64 * 1024 * 1024, `${accepted} bytes were taken while nobody read`);
});

t.test("silence of both sides ends the pair", async (t) => {
  const { end } = await pair(t, 50);
  t.match(await end, { cause: "idle" });
});
