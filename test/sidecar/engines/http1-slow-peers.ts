// Peers that do not read: a client that leaves 50 MB of an answer where they are, an app that does so with an upload. What both sidecars hold for them
// together is bounded; they run in a process of their own, apart from the client and the app.
import type { Socket } from "node:net";
import type { EngineName } from "../../../sidecar/engine.ts";
import { type ForkedPair, forkMeshPair } from "../../support/forked-pair.ts";
import { GET, http1Tests, onHeads } from "../../support/http1-fixture.ts";
import { eventually } from "../../support/raw-peers.ts";

const BODY_BYTES = 50 * 1024 * 1024;
const PIECE = Buffer.alloc(64 * 1024, "x");
/** What the four connections of a path may hold outside of the kernel. */
const MAX_HEAP_BYTES = 4 * 1024 * 1024;
/** The same with what allocators keep of the 12 MB that passed before everything stood still, and that the kernel holds by then. */
const MAX_RSS_BYTES = { splice: 16 * 1024 * 1024, compat: 32 * 1024 * 1024 };
/** What is on its way when everything stands still: mostly in the kernel, whose buffers grow to about 6 MB for each connection. */
const MAX_SENT_BYTES = BODY_BYTES / 2;
/** Nothing moves any more when nothing moved for this long. */
const STILL_MS = 250;

/** Sends BODY_BYTES as fast as they are taken, the first of them in one write with what comes before. Gives how many were handed to the kernel. */
function pour(socket: Socket, before: string): { sent(): number } {
  let left = BODY_BYTES - PIECE.length;
  socket.write(Buffer.concat([Buffer.from(before, "latin1"), PIECE]));
  const more = () => {
    while (left > 0) {
      left -= PIECE.length;
      if (!socket.write(PIECE)) return void socket.once("drain", more);
    }
  };
  more();
  return { sent: () => BODY_BYTES - left - socket.writableLength };
}

/** Resolves when `sent` stands still. */
async function stalled(sent: () => number): Promise<void> {
  let before = -1;
  while (sent() !== before) {
    before = sent();
    await new Promise((resolve) => setTimeout(resolve, STILL_MS));
  }
}

/** What the sidecars hold, and what they held before. */
async function growth(pair: ForkedPair): Promise<() => Promise<{ readonly heapBytes: number; readonly rssAnonBytes: number }>> {
  const before = await pair.ask("memory");
  return async () => {
    const after = await pair.ask("memory");
    return {
      heapBytes: (after.heapBytes ?? Number.NaN) - (before.heapBytes ?? Number.NaN),
      rssAnonBytes: (after.rssAnonBytes ?? Number.NaN) - (before.rssAnonBytes ?? Number.NaN),
    };
  };
}

/** Registers the tests for one engine. */
export function http1SlowPeers(engine: EngineName): void {
  const test = http1Tests(engine);

  async function assertHeld(
    t: { ok(value: boolean, text: string): void },
    grown: Awaited<ReturnType<typeof growth>>,
    sentBytes: number,
  ): Promise<void> {
    const { heapBytes, rssAnonBytes } = await grown();
    t.ok(sentBytes < MAX_SENT_BYTES, `${engine} waits after ${sentBytes >> 20} MiB`);
    t.ok(heapBytes < MAX_HEAP_BYTES, `${engine}, heap and buffers: ${heapBytes >> 10} KiB more`);
    t.ok(rssAnonBytes < MAX_RSS_BYTES[engine], `${engine}, RssAnon: ${rssAnonBytes >> 10} KiB more`);
  }

  test("a client that does not read 50 MB: the app waits, memory stays, and after a drain the answer still comes whole", async (t, mesh) => {
    let flow = { sent: () => -2 };
    const appPort = await mesh.rawApp((socket) =>
      onHeads(socket, () => {
        flow = pour(socket, `HTTP/1.1 200 OK\r\nContent-Length: ${BODY_BYTES}\r\n\r\n`);
      }),
    );
    const pair = await forkMeshPair(t, appPort, engine);
    const grown = await growth(pair);
    const client = mesh.connectMute(pair.outboundPort);
    client.write(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    await eventually(() => flow.sent() > 0);
    await stalled(() => flow.sent());
    await assertHeld(t, grown, flow.sent());
    await pair.ask("drain");
    let received = 0;
    client.on("data", (chunk) => {
      received += chunk.length;
    });
    await new Promise((resolve) => client.once("end", resolve));
    t.ok(received > BODY_BYTES && received < BODY_BYTES + 1000, `${received} bytes with the head`);
    t.same(await pair.ask("close"), { balances: true });
  });

  test("an app that does not read 50 MB of upload: the client waits, memory stays, and the upload comes whole in the end", async (t, mesh) => {
    let received = 0;
    const held: Socket[] = [];
    const appPort = await mesh.rawApp((socket) => {
      held.push(socket);
      socket.on("data", (chunk) => {
        received += chunk.length;
        if (received > BODY_BYTES) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      });
      socket.pause();
    });
    const pair = await forkMeshPair(t, appPort, engine);
    const grown = await growth(pair);
    const client = mesh.connect(pair.outboundPort);
    const flow = pour(client.socket, `POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: ${BODY_BYTES}\r\n\r\n`);
    await eventually(() => held.length === 1);
    await stalled(() => flow.sent());
    await assertHeld(t, grown, flow.sent());
    held[0]?.resume();
    t.match(await client.until(/ok$/), /^HTTP\/1\.1 200 OK/);
    t.ok(received > BODY_BYTES && received < BODY_BYTES + 2000, `${received} bytes with the head`);
    t.same(await pair.ask("close"), { balances: true });
  });

  test("a slow reader that leaves gives everything back", async (t, mesh) => {
    const head = `HTTP/1.1 200 OK\r\nContent-Length: ${BODY_BYTES}\r\n\r\n`;
    const pair = await mesh.pairFor(await mesh.rawApp((socket) => onHeads(socket, () => void pour(socket, head))));
    for (const leave of ["resetAndDestroy", "destroy"] as const) {
      const client = mesh.connectMute(pair.outboundPort);
      client.write(GET);
      await eventually(() => mesh.appSockets.size === 1);
      await new Promise((resolve) => setTimeout(resolve, 100));
      client[leave]();
      t.ok(await eventually(() => mesh.appSockets.size === 0), `the app is told, after ${leave}`);
    }
  });
}
