// Opaque connections through both hops (app → outbound → mTLS → inbound → app), on real sockets: every byte, every end, and what waits for whom.
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import t from "tap";
import { startMeshPair } from "../../support/mesh-pair.ts";
import { eventually, startRawApp } from "../../support/raw-peers.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

type Tap = { teardown(run: () => unknown): void };

const MIB = 1024 * 1024;
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Bytes of buffers that somebody still refers to. */
function heldBytes(): number {
  collect();
  return process.memoryUsage().arrayBuffers;
}

interface Tunnels {
  /** Opens a connection of a client to the app; gives both ends. */
  open(): Promise<{ client: Socket; app: Socket }>;
}

async function tunnels(t: Tap): Promise<Tunnels> {
  const waiting: ((socket: Socket) => void)[] = [];
  const appPort = await startRawApp(t, (socket) => waiting.shift()?.(socket));
  const pair = await startMeshPair({ appPort, protocol: "tcp" });
  t.teardown(() => pair.close());
  return {
    async open() {
      const client = connect({ port: pair.outboundPort, host: "127.0.0.1", allowHalfOpen: true });
      client.on("error", () => {});
      t.teardown(() => client.destroy());
      const reached = new Promise<Socket>((resolve) => waiting.push(resolve));
      client.write(`CONNECT orders:${appPort} HTTP/1.1\r\nHost: orders\r\n\r\n`);
      const [answer] = (await once(client, "data")) as [Buffer];
      client.pause();
      if (!String(answer).startsWith("HTTP/1.1 200")) throw new Error(String(answer));
      return { client, app: await reached };
    },
  };
}

/** Reads to the end, with a pause now and then; gives the number of bytes and their hash. */
function digest(socket: Socket, stopEvery = Number.POSITIVE_INFINITY): Promise<string> {
  const hash = createHash("sha256");
  let bytes = 0;
  let chunks = 0;
  return new Promise((resolve) => {
    socket.on("data", (chunk: Buffer) => {
      hash.update(chunk);
      bytes += chunk.length;
      chunks += 1;
      if (chunks % stopEvery !== 0) return;
      socket.pause();
      setTimeout(() => socket.resume(), 5);
    });
    socket.once("end", () => resolve(`${bytes} ${hash.digest("hex")}`));
    socket.once("close", () => resolve("cut off"));
    socket.resume();
  });
}

/** Sends `bytes` in pieces of any size, waiting where told to, and ends; gives their number and hash. */
async function sendPattern(socket: Socket, bytes: number, seed: number): Promise<string> {
  const random = createSeededRandom(seed).next;
  const hash = createHash("sha256");
  let sent = 0;
  while (sent < bytes) {
    const scale = 2 ** Math.floor(random() * 19);
    const piece = Buffer.alloc(Math.min(bytes - sent, 1 + Math.floor(random() * scale)), Math.floor(random() * 256));
    piece.writeUInt8(sent & 0xff, 0);
    hash.update(piece);
    sent += piece.length;
    if (!socket.write(piece)) await once(socket, "drain");
  }
  socket.end();
  return `${sent} ${hash.digest("hex")}`;
}

t.test("pieces of any size arrive whole and in order, both ways at once, also at readers that pause", async (t) => {
  const { open } = await tunnels(t);
  await Promise.all(
    [1, 2, 3, 4].map(async (seed) => {
      const { client, app } = await open();
      const stopEvery = seed % 2 === 0 ? 7 : Number.POSITIVE_INFINITY;
      const [sentUp, sentDown, gotUp, gotDown] = await Promise.all([
        sendPattern(client, 6 * MIB, seed),
        sendPattern(app, 6 * MIB, seed + 100),
        digest(app, stopEvery),
        digest(client, stopEvery),
      ]);
      t.equal(gotUp, sentUp);
      t.equal(gotDown, sentDown);
    }),
  );
});

t.test("a client's half-close reaches the app after its last byte, and the answer still comes whole", async (t) => {
  const { open } = await tunnels(t);
  const { client, app } = await open();
  const [sent, got] = await Promise.all([sendPattern(client, 3 * MIB + 1, 5), digest(app)]);
  t.equal(got, sent);
  t.equal(client.destroyed, false);
  const [answered, received] = await Promise.all([sendPattern(app, 3 * MIB + 1, 6), digest(client)]);
  t.equal(received, answered);
});

t.test("an app that ends first still hears the client out", async (t) => {
  const { open } = await tunnels(t);
  const { client, app } = await open();
  app.end("done");
  t.equal((await digest(client)).split(" ")[0], "4");
  const [sent, got] = await Promise.all([sendPattern(client, 2 * MIB, 7), digest(app)]);
  t.equal(got, sent);
});

t.test("a reset of either end is a reset of the other, through both hops", async (t) => {
  const { open } = await tunnels(t);
  for (const first of ["client", "app"] as const) {
    const ends = await open();
    const other = first === "client" ? ends.app : ends.client;
    other.resume();
    const failed = new Promise<NodeJS.ErrnoException>((resolve) => other.once("error", resolve));
    ends[first].resetAndDestroy();
    t.equal((await failed).code, "ECONNRESET", `${first} resets`);
  }
});

t.test("a short message is not held back by the ones before it", async (t) => {
  const { open } = await tunnels(t);
  const { client, app } = await open();
  app.on("data", (chunk: Buffer) => app.write(chunk));
  client.resume();
  for (const size of [1, 16_384, 16_385, 40_000, 65_536, 131_072, 262_145]) {
    let left = size;
    const back = new Promise<void>((resolve) => {
      const count = (chunk: Buffer) => {
        left -= chunk.length;
        if (left > 0) return;
        client.off("data", count);
        resolve();
      };
      client.on("data", count);
    });
    client.write(Buffer.alloc(size, 1));
    await back;
    t.equal(left, 0, `${size} bytes there and back`);
  }
});

t.test("readers that never read: each connection holds a bounded number of bytes, and nothing when they go", async (t) => {
  const { open } = await tunnels(t);
  const COUNT = 24;
  const chunk = Buffer.alloc(64 * 1024);
  const ends = await Promise.all(Array.from({ length: COUNT }, open));
  const before = heldBytes();
  for (const { client, app } of ends) {
    app.pause();
    // All chunks are one buffer: what the client itself still has to write costs nothing here.
    while (client.write(chunk));
    client.on("drain", () => {
      while (client.write(chunk));
    });
  }
  let last = -1;
  let unchanged = 0;
  const settled = await eventually(() => {
    const sent = ends.reduce((sum, { client }) => sum + client.bytesWritten - client.writableLength, 0);
    unchanged = sent === last ? unchanged + 1 : 0;
    last = sent;
    return unchanged > 40;
  }, 30_000);
  t.ok(settled, "the senders came to a stop");
  const perConnection = () => (heldBytes() - before) / COUNT / 1024;
  // Two hops with two buffers of 128 KiB each. V8 frees buffers in the background, so that on a busy machine the number comes down late.
  const isBounded = await eventually(() => perConnection() < 4 * 128 + 64);
  t.ok(isBounded, `${perConnection().toFixed(0)} KiB for each connection in both hops, ${(last / COUNT / MIB).toFixed(1)} MiB sent`);
  const closed = ends.map(({ app }) => once(app.resume(), "close").catch(() => {}));
  for (const { client } of ends) client.resetAndDestroy();
  await Promise.all(closed);
});
