// Peers that do not read: a client that leaves 50 MB of an answer where they are, an app that does so with an upload. What is held for them is bounded, in
// this whole process: both sidecars, the client and the app together.
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { EngineName } from "../../../sidecar/engine.ts";
import { GET, http1Tests, onHeads } from "../../support/http1-fixture.ts";
import { eventually } from "../../support/raw-peers.ts";

const BODY_BYTES = 50 * 1024 * 1024;
const PIECE = Buffer.alloc(64 * 1024, "x");
/** What the four connections of a path may hold in user space. Kernel buffers (up to about 6 MB each) are not in it. */
const MAX_HEAP_BYTES = 4 * 1024 * 1024;
const MAX_RSS_BYTES = 32 * 1024 * 1024;
/** What is on its way when everything stands still: mostly in the kernel, whose buffers grow to about 6 MB for each connection. */
const MAX_SENT_BYTES = BODY_BYTES / 2;
/** Nothing moves any more when nothing moved for this long. */
const STILL_MS = 250;

/** Sends BODY_BYTES as fast as they are taken. Gives how many were handed to the kernel. */
function pour(socket: Socket, before: string): { sent(): number } {
  let left = BODY_BYTES;
  socket.write(before);
  const more = () => {
    while (left > 0) {
      left -= PIECE.length;
      if (!socket.write(PIECE)) return void socket.once("drain", more);
    }
  };
  more();
  return { sent: () => BODY_BYTES - left - socket.writableLength };
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void; // V8's own, which the flag puts there

function rssAnonBytes(): number {
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? 0) * 1024;
}

async function heldBytes(): Promise<{ heap: number; rss: number }> {
  // What a first collection finds is freed behind the back of the second.
  for (let round = 0; round < 3; round += 1) {
    collectGarbage();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, external } = process.memoryUsage();
  return { heap: heapUsed + external, rss: rssAnonBytes() };
}

/** Resolves when `sent` stands still. */
async function stalled(sent: () => number): Promise<void> {
  let before = -1;
  while (sent() !== before) {
    before = sent();
    await new Promise((resolve) => setTimeout(resolve, STILL_MS));
  }
}

/** Registers the tests for one engine. */
export function http1SlowPeers(engine: EngineName): void {
  const test = http1Tests(engine);

  test("a client that does not read a 50 MB answer: the app is made to wait, memory stays where it was, the answer comes whole in the end", async (t, mesh) => {
    let flow = { sent: () => -2 };
    const appPort = await mesh.rawApp((socket) =>
      onHeads(socket, () => {
        flow = pour(socket, `HTTP/1.1 200 OK\r\nContent-Length: ${BODY_BYTES}\r\n\r\n`);
      }),
    );
    const pair = await mesh.pairFor(appPort);
    const before = await heldBytes();
    const client = mesh.connectMute(pair.outboundPort);
    client.write(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    await eventually(() => flow.sent() > 0);
    await stalled(() => flow.sent());
    await assertHeld(t, before, flow.sent());
    let received = 0;
    client.on("data", (chunk) => {
      received += chunk.length;
    });
    await new Promise((resolve) => client.once("end", resolve));
    t.ok(received > BODY_BYTES && received < BODY_BYTES + 1000, `${received} bytes with the head`);
  });

  test("an app that does not read a 50 MB upload: the client is made to wait, memory stays where it was, the upload comes whole in the end", async (t, mesh) => {
    let received = 0;
    const held: Socket[] = [];
    const appPort = await mesh.rawApp((socket) => {
      socket.pause();
      held.push(socket);
      socket.on("data", (chunk) => {
        received += chunk.length;
        if (received > BODY_BYTES) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      });
      socket.pause();
    });
    const pair = await mesh.pairFor(appPort);
    const before = await heldBytes();
    const client = mesh.connect(pair.outboundPort);
    const flow = pour(client.socket, `POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: ${BODY_BYTES}\r\n\r\n`);
    await eventually(() => held.length === 1);
    await stalled(() => flow.sent());
    await assertHeld(t, before, flow.sent());
    held[0]?.resume();
    t.match(await client.until(/ok$/, 10_000), /^HTTP\/1\.1 200 OK/);
    t.ok(received > BODY_BYTES && received < BODY_BYTES + 2000, `${received} bytes with the head`);
  });

  test("slow peers that leave or are left give everything back", async (t, mesh) => {
    const appPort = await mesh.rawApp((socket) =>
      onHeads(socket, () => void pour(socket, `HTTP/1.1 200 OK\r\nContent-Length: ${BODY_BYTES}\r\n\r\n`)),
    );
    const pair = await mesh.pairFor(appPort);
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

async function assertHeld(
  t: { ok(value: boolean, text: string): void },
  before: { heap: number; rss: number },
  sentBytes: number,
): Promise<void> {
  const after = await heldBytes();
  t.ok(sentBytes < MAX_SENT_BYTES, `waits after ${sentBytes >> 20} MiB`);
  t.ok(after.heap - before.heap < MAX_HEAP_BYTES, `heap and buffers: ${(after.heap - before.heap) >> 10} KiB more`);
  t.ok(after.rss - before.rss < MAX_RSS_BYTES, `RssAnon: ${(after.rss - before.rss) >> 10} KiB more`);
}
