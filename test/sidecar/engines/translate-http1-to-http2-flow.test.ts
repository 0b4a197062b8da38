// Bulk between an HTTP/1.1 client and a port that speaks HTTP/2, with a peer that does not read: what the windows of the stream hold up is bounded on both
// hops, and moves again when somebody reads. What is held is measured in a process of its own.
import { createServer, type ServerHttp2Stream } from "node:http2";
import { type ForkedPair, forkMeshPair } from "../../support/forked-pair.ts";
import { GET } from "../../support/http1-fixture.ts";
import { eventually } from "../../support/raw-peers.ts";
import { test } from "./translate-http1-to-http2.ts";

const BODY_BYTES = 50 * 1024 * 1024;
const PIECE = Buffer.alloc(64 * 1024, "x");
/** What both sidecars may hold outside of the kernel: a window of a stream, and what each of the four connections has put together. */
const MAX_HEAP_BYTES = 4 * 1024 * 1024;
/** What is on its way when everything stands still: mostly in the kernel. */
const MAX_SENT_BYTES = BODY_BYTES / 2;
const STILL_MS = 250;

interface Sink {
  write(piece: Buffer): boolean;
  once(event: "drain", listener: () => void): unknown;
  readonly writableLength: number;
}

/** Writes BODY_BYTES as fast as they are taken. */
function pour(sink: Sink, done: () => void): { sent(): number } {
  let left = BODY_BYTES;
  const more = () => {
    while (left > 0) {
      left -= PIECE.length;
      if (!sink.write(PIECE)) return void sink.once("drain", more);
    }
    done();
  };
  more();
  return { sent: () => BODY_BYTES - left - sink.writableLength };
}

async function stalled(sent: () => number): Promise<void> {
  let before = -1;
  while (sent() !== before) {
    before = sent();
    await new Promise((resolve) => setTimeout(resolve, STILL_MS));
  }
}

async function heapOf(pair: ForkedPair): Promise<number> {
  return (await pair.ask("memory")).heapBytes ?? Number.NaN;
}

for (const isFramed of [true, false]) {
  test(`a client that does not read 50 MB ${isFramed ? "with a length" : "without a length"}: the app waits, memory stays, and the answer still comes whole`, async (t, mesh) => {
    let flow = { sent: () => -2 };
    const app = createServer();
    app.on("stream", (found) => {
      const stream = found as ServerHttp2Stream;
      stream.on("error", () => {});
      stream.respond({ ":status": 200, ...(isFramed ? { "content-length": BODY_BYTES } : {}) });
      flow = pour(stream, () => stream.end());
    });
    const pair = await forkMeshPair(t, await mesh.listen(app), "splice", "http2");
    const before = await heapOf(pair);
    const client = mesh.connectMute(pair.outboundPort);
    client.write(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    await eventually(() => flow.sent() > 0);
    await stalled(() => flow.sent());
    const heldBytes = (await heapOf(pair)) - before;
    t.ok(flow.sent() < MAX_SENT_BYTES, `the app waits after ${flow.sent() >> 20} MiB`);
    t.ok(heldBytes < MAX_HEAP_BYTES, `${heldBytes >> 10} KiB more`);
    let received = 0;
    client.on("data", (chunk: Buffer) => {
      received += chunk.length;
    });
    await new Promise((resolve) => client.once("end", resolve));
    t.ok(received > BODY_BYTES && received < BODY_BYTES * 1.01, `${received} bytes with head and framing`);
    t.same(await pair.ask("close"), { balances: true });
  });
}

for (const isFramed of [true, false]) {
  test(`an app that does not read 50 MB ${isFramed ? "with a length" : "in chunks"}: the client waits, memory stays, and the upload comes whole in the end`, async (t, mesh) => {
    let held: ServerHttp2Stream | null = null;
    const app = createServer();
    app.on("stream", (stream) => {
      stream.on("error", () => {});
      held = stream as ServerHttp2Stream;
    });
    const pair = await forkMeshPair(t, await mesh.listen(app), "splice", "http2");
    const before = await heapOf(pair);
    const client = mesh.connect(pair.outboundPort);
    client.send(`POST / HTTP/1.1\r\nHost: orders\r\n${isFramed ? `Content-Length: ${BODY_BYTES}` : "Transfer-Encoding: chunked"}\r\n\r\n`);
    if (!isFramed) client.send(`${BODY_BYTES.toString(16)}\r\n`);
    const flow = pour(client.socket, () => {
      if (!isFramed) client.send("\r\n0\r\n\r\n");
    });
    await eventually(() => held !== null);
    await stalled(() => flow.sent());
    const heldBytes = (await heapOf(pair)) - before;
    t.ok(flow.sent() < MAX_SENT_BYTES, `the client waits after ${flow.sent() >> 20} MiB`);
    t.ok(heldBytes < MAX_HEAP_BYTES, `${heldBytes >> 10} KiB more`);
    const stream = held as unknown as ServerHttp2Stream;
    let received = 0;
    stream.on("data", (chunk: Buffer) => {
      received += chunk.length;
    });
    stream.once("end", () => {
      stream.respond({ ":status": 200, "content-length": 2 });
      stream.end("ok");
    });
    t.match(await client.until(/ok$/), /^HTTP\/1\.1 200 OK/);
    t.equal(received, BODY_BYTES);
    t.same(await pair.ask("close"), { balances: true });
  });
}

test("one that stands still holds up no other on the same connection to the app", async (t, mesh) => {
  const pair = await mesh.inFrontOf(
    (stream, headers) => {
      if (headers[":path"] === "/upload") return; // never read
      stream.respond({ ":status": 200, ...(headers[":path"] === "/bulk" ? {} : { "content-length": 2 }) });
      if (headers[":path"] === "/bulk") pour(stream, () => stream.end());
      else stream.end("ok");
    },
    { timeouts: { stallMs: 4_000 } },
  );
  const stuck = Array.from({ length: 30 }, (_, index) => {
    const client = mesh.connectMute(pair.outboundPort);
    if (index % 2 === 0) client.write("GET /bulk HTTP/1.1\r\nHost: orders\r\n\r\n");
    else client.write(`POST /upload HTTP/1.1\r\nHost: orders\r\nContent-Length: 1000000\r\n\r\n${"x".repeat(900_000)}`);
    return client;
  });
  await eventually(() => pair.calleeLedger.begun === stuck.length);
  await new Promise((resolve) => setTimeout(resolve, 500));
  const other = mesh.connect(pair.outboundPort);
  for (let round = 1; round <= 5; round += 1) {
    other.send("GET /small HTTP/1.1\r\nHost: orders\r\n\r\n");
    t.match(await other.until(new RegExp(`(ok[^]*){${round}}$`)), /ok$/);
  }
  t.ok(mesh.accepted <= 2, `${mesh.accepted} connections to the app`);
  for (const client of stuck) client.resetAndDestroy();
  // A client that is not read, as the app does not read it, is only missed when its time is over.
  t.ok(await eventually(() => pair.calleeLedger.finished.length === pair.calleeLedger.begun));
  other.send("GET /small HTTP/1.1\r\nHost: orders\r\n\r\n");
  t.match(await other.until(/(ok[^]*){6}$/), /ok$/, "and the connection goes on without them");
});

test("100 clients leave in the middle of bulk, one after the other: no window of the connection is lost", async (t, mesh) => {
  const pair = await mesh.inFrontOf((stream, headers) => {
    stream.respond({ ":status": 200 });
    if (headers[":path"] === "/bulk") pour(stream, () => stream.end());
    else stream.end("ok".repeat(500_000));
  });
  for (let index = 0; index < 100; index += 1) {
    const client = mesh.connectMute(pair.outboundPort);
    client.write("GET /bulk HTTP/1.1\r\nHost: orders\r\n\r\n");
    await new Promise((resolve) => client.once("data", resolve));
    client.resetAndDestroy();
  }
  const client = mesh.connect(pair.outboundPort);
  client.send("GET / HTTP/1.1\r\nHost: orders\r\n\r\n");
  const text = await client.until(/\r\n0\r\n\r\n$/);
  t.ok(text.length > 1_000_000 && text.endsWith("\r\n0\r\n\r\n"));
});
