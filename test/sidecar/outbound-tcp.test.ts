// What opaque connections teach a caller's sidecar about endpoints: an endpoint that breaks them off unanswered is left, and one whose clients break off is not.
import type { Socket } from "node:net";
import t from "tap";
import { MeshFleet } from "../support/mesh-fleet.ts";
import { connectRaw, eventually, type RawClient, startRawApp } from "../support/raw-peers.ts";
import { freePort } from "../support/free-port.ts";

type Tap = Parameters<typeof startRawApp>[0];

/** Connections made one after the other: enough for a breaker to open on an endpoint that gets them all. */
const CONNECTIONS = 20;
/** Mostly one does; on a machine where connecting takes long, as many as a breaker opens at, and a probe. */
const MOST_FAILED = 8;

/** A tunnel to the service through the caller's sidecar. */
async function tunnel(t: Tap, fleet: MeshFleet): Promise<RawClient> {
  const client = connectRaw(t, fleet.caller.port, { allowHalfOpen: true });
  client.send("CONNECT orders:80 HTTP/1.1\r\nHost: orders\r\n\r\n");
  await client.until(/\r\n\r\n/);
  return client;
}

/** Answers what it is sent, and ends when its client does. */
function echo(socket: Socket): void {
  socket.pipe(socket);
}

/** A service of two instances, whose apps do with each connection what they are told. */
async function startTwo(t: Tap, ...apps: readonly [first: (socket: Socket) => void, second: (socket: Socket) => void]): Promise<MeshFleet> {
  const fleet = await MeshFleet.start(t, { protocol: "tcp" });
  for (const app of apps) await fleet.add(await startRawApp(t, app));
  return fleet;
}

/** Sends a line as a client that speaks first; true when it came back. */
async function isAnswered(t: Tap & Pick<typeof import("tap").default, "notOk">, fleet: MeshFleet): Promise<boolean> {
  const client = await tunnel(t, fleet);
  client.socket.end("hello");
  await client.ended();
  if (client.text().endsWith("hello")) return true;
  t.notOk(client.socket.readableEnded, "what was broken off does not look like an end");
  return false;
}

/** A figure of the caller's sidecar. */
async function figure(fleet: MeshFleet, name: string): Promise<number> {
  const text = await fleet.caller.metrics.registry.metrics();
  return Number(new RegExp(`^${name} (\\d+)`, "m").exec(text)?.[1] ?? Number.NaN);
}

/** How often the caller has left an endpoint alone: one of two, after seven failures in a row. */
const breakersOpened = (fleet: MeshFleet) => figure(fleet, "remora_breakers_opened_total");

t.test("an instance whose app is gone gets few of the connections", async (t) => {
  const fleet = await MeshFleet.start(t, { protocol: "tcp" });
  await fleet.add(await startRawApp(t, echo));
  await fleet.add(await freePort());
  let failed = 0;
  for (let index = 0; index < CONNECTIONS; index += 1) if (!(await isAnswered(t, fleet))) failed += 1;
  t.ok(failed > 0 && failed <= MOST_FAILED, `${failed} of ${CONNECTIONS} failed`);
});

t.test("so does one whose app resets what it has not answered", async (t) => {
  const fleet = await startTwo(t, echo, (socket) => socket.once("data", () => socket.resetAndDestroy()));
  let failed = 0;
  for (let index = 0; index < CONNECTIONS; index += 1) if (!(await isAnswered(t, fleet))) failed += 1;
  t.ok(failed > 0 && failed <= MOST_FAILED, `${failed} of ${CONNECTIONS} failed`);
});

t.test("what a client waits for and does not get counts, though it has sent nothing", async (t) => {
  const fleet = await startTwo(t, ...both((socket: Socket) => socket.resetAndDestroy()));
  for (let index = 0; index < CONNECTIONS; index += 1) await (await tunnel(t, fleet)).ended();
  t.ok(await eventually(async () => (await breakersOpened(fleet)) > 0), "a breaker opened");
});

/** What must not count: the apps of both instances, and what each client does. */
const HARMLESS: Readonly<Record<string, { readonly app: (socket: Socket) => void; readonly client: (client: RawClient) => void }>> = {
  "a client that resets before it was answered": {
    app: (socket) => socket.resume(),
    client(client) {
      client.send("hello");
      client.socket.resetAndDestroy();
    },
  },
  "a client that looks whether a port is open, at a server that resets such": {
    app: (socket) => socket.once("end", () => socket.resetAndDestroy()).resume(),
    client: (client) => client.socket.end(),
  },
  "a server that ends in order without a word, after what it was sent": {
    app: (socket) => socket.once("end", () => socket.end()).resume(),
    client: (client) => client.socket.end("a line for the log"),
  },
  "a server that ends in order, first and without a word": {
    app: (socket) => socket.end().resume(),
    client: (client) => client.socket.once("end", () => client.socket.end()),
  },
  "a server that resets what it has answered": {
    app: (socket) => socket.once("data", () => socket.write("hello", () => setTimeout(() => socket.resetAndDestroy(), 20))),
    client: (client) => client.send("hello"),
  },
};

for (const [what, { app, client: leave }] of Object.entries(HARMLESS)) {
  t.test(`${what}: no failure of the instance`, async (t) => {
    const fleet = await startTwo(t, ...both(app));
    for (let index = 0; index < CONNECTIONS; index += 1) {
      const client = await tunnel(t, fleet);
      leave(client);
      await eventually(() => client.socket.destroyed);
    }
    t.ok(await eventually(async () => (await figure(fleet, 'remora_connections\\{direction="outbound"\\}')) === 0));
    t.equal(await breakersOpened(fleet), 0);
  });
}

/** Both instances do the same, so that each is asked often whatever is thought of it. */
function both<T>(what: T): readonly [T, T] {
  return [what, what];
}
