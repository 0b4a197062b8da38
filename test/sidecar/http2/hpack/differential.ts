// Our encoder and decoder against those of nghttp2, which node:http2 has inside: lists go over a real connection and are compared with what comes out. One
// call is one connection, whose tables are resized by SETTINGS as it goes.
import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2, createServer, sensitiveHeaders, type ServerHttp2Session } from "node:http2";
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from "node:net";
import { HpackDecoder } from "../../../../sidecar/http2/hpack/decoder.ts";
import { HpackEncoder } from "../../../../sidecar/http2/hpack/encoder.ts";
import { type HeaderEntry, INDEXING } from "../../../../sidecar/http2/hpack/header-entry.ts";
import { createSeededRandom, type SeededRandom } from "../../../support/seeded-random.ts";
import { createHeaderLists } from "./header-lists.ts";
import {
  blockFrames,
  createBlockJoiner,
  createFrameReader,
  FLAG,
  FRAME,
  frameBytes,
  PREFACE,
  SETTINGS_ACK,
  tableSettings,
  tableSizeIn,
} from "./raw-frames.ts";

/** What was found on one connection. */
export interface Outcome {
  /** Lists that came through and were compared. */
  readonly compared: number;
  /** What differed or broke; empty when nothing did. */
  readonly failures: readonly string[];
}

/** Lists that are under way at once. */
const BATCH = 25;
/** One batch in so many changes the size of the table. */
const RESIZE_EVERY = 3;
const TABLE_BYTES: readonly number[] = [0, 64, 1024, 4096, 65_536];
/** More than the largest list, so that nothing but HPACK decides. */
const LIMITS = { maxHeaderListPairs: 1000, maxSendHeaderBlockLength: 1 << 20, maxDeflateDynamicTableSize: 65_536 };
const MAX_HEADER_LIST_BYTES = 1 << 20;
/** Frames that a block is cut into: nghttp2 takes no more than eight CONTINUATIONs. */
const MAX_FRAMES = 9;
/** A connection that says nothing for so long is stuck. */
const STUCK_MS = 20_000;

/** Our encoder writes `lists` lists, node:http2 reads them. */
export async function encodeForNode(seed: number, lists: number): Promise<Outcome> {
  const random = createSeededRandom(seed);
  const run = createRun(random, lists);
  const encoder = new HpackEncoder(random.pick([1024, 4096, 65_536]));
  const server = createServer({
    ...LIMITS,
    settings: { maxHeaderListSize: MAX_HEADER_LIST_BYTES, headerTableSize: random.pick(TABLE_BYTES) },
  });
  let session: ServerHttp2Session | null = null;
  server.on("session", (opened) => {
    session = opened.on("error", run.fail);
  });
  server.on("stream", (stream, headers, _flags, flat) => {
    stream.on("error", run.fail);
    run.heard(stream.id as number, flat, new Set(Reflect.get(headers, sensitiveHeaders) as string[] | undefined));
    stream.close();
  });
  const socket = connect(await listen(server), "127.0.0.1").on("error", run.fail);
  socket.on(
    "data",
    createFrameReader((frame) => {
      if (frame.type === FRAME.goAway) run.fail(new Error(`GOAWAY ${frame.payload.readUInt32BE(4)}`));
      if (frame.type !== FRAME.settings || (frame.flags & FLAG.ack) !== 0) return;
      const tableBytes = tableSizeIn(frame);
      if (tableBytes !== -1) encoder.setPeerTableBytes(tableBytes);
      socket.write(SETTINGS_ACK);
    }),
  );
  socket.write(Buffer.concat([PREFACE, frameBytes(FRAME.settings, 0, 0, Buffer.alloc(0))]));
  await run.all(
    (batch) => {
      const frames = batch.map(({ streamId, list }) => blockFrames(streamId, encodeBlock(encoder, list), 0, 1 + random.below(MAX_FRAMES)));
      socket.write(Buffer.concat(frames));
    },
    () => session?.settings({ headerTableSize: random.pick(TABLE_BYTES) }),
  );
  socket.destroy();
  server.close();
  return run;
}

/** node:http2 writes `lists` lists, our decoder reads them. */
export async function decodeFromNode(seed: number, lists: number): Promise<Outcome> {
  const random = createSeededRandom(seed);
  const run = createRun(random, lists);
  const asked: number[] = [random.pick(TABLE_BYTES)];
  const decoder = new HpackDecoder(asked[0]);
  let resize = () => {};
  const server = createTcpServer((socket) => {
    socket.on("error", run.fail).write(tableSettings(asked[0] as number));
    resize = () => {
      const tableBytes = random.pick(TABLE_BYTES);
      asked.push(tableBytes);
      socket.write(tableSettings(tableBytes));
    };
    const join = createBlockJoiner((streamId, block) => {
      const entries: HeaderEntry[] = [];
      if (!decoder.decode(block, 0, block.length, { add: (entry) => entries.push(entry) })) return run.fail(new Error(decoder.flaw));
      run.heard(
        streamId,
        entries.flatMap(({ name, value }) => [name, value]),
        neverNames(entries),
      );
      socket.write(blockFrames(streamId, Buffer.of(0x88), FLAG.endStream));
    });
    const read = createFrameReader((frame) => {
      join(frame);
      if (frame.type !== FRAME.settings) return;
      if ((frame.flags & FLAG.ack) === 0) socket.write(SETTINGS_ACK);
      else decoder.limitTable(asked.shift() as number);
    });
    let preface = PREFACE.length;
    socket.on("data", (chunk: Buffer) => {
      const skipped = Math.min(preface, chunk.length);
      preface -= skipped;
      read(chunk.subarray(skipped));
    });
  });
  const client = connectHttp2(`http://127.0.0.1:${await listen(server)}`, { ...LIMITS }).on("error", run.fail);
  await once(client, "connect");
  await run.all(
    (batch) => Promise.all(batch.map(({ list }) => request(client, list, run.fail))),
    () => resize(),
  );
  client.destroy();
  server.close();
  return run;
}

function request(client: ClientHttp2Session, list: readonly HeaderEntry[], fail: (error: Error) => void): Promise<unknown> {
  // The types know of arrays, but not that they may carry this symbol as well.
  const flat = Object.assign(
    list.flatMap(({ name, value }) => [name, value]),
    { [sensitiveHeaders]: [...neverNames(list)] },
  );
  const stream = client.request(flat, { endStream: true }).on("error", fail).resume();
  return new Promise((done) => stream.on("close", done));
}

/** One block of our own. */
export function encodeBlock(encoder: HpackEncoder, list: readonly HeaderEntry[]): Buffer {
  const bytes = Buffer.alloc(list.reduce((sum, entry) => sum + HpackEncoder.boundOf(entry), 0));
  let at = encoder.begin(bytes, 0);
  for (const entry of list) at = encoder.putEntry(bytes, at, entry);
  return bytes.subarray(0, at);
}

function neverNames(list: readonly HeaderEntry[]): Set<string> {
  return new Set(list.filter(({ indexing }) => indexing === INDEXING.never).map(({ name }) => name));
}

interface Sent {
  readonly streamId: number;
  readonly list: readonly HeaderEntry[];
}

interface Run extends Outcome {
  fail(this: void, error: Error): void;
  /** A list arrived: its fields, flat, and the names that were marked never to be indexed. */
  heard(streamId: number, flat: readonly string[], never: ReadonlySet<string>): void;
  all(send: (batch: readonly Sent[]) => unknown, resize: () => void): Promise<void>;
}

function createRun(random: SeededRandom, lists: number): Run {
  const source = createHeaderLists(random);
  const underWay = new Map<number, readonly HeaderEntry[]>();
  const failures: string[] = [];
  let compared = 0;
  let wake = () => {};
  async function batchArrives(): Promise<void> {
    const stuck = setTimeout(() => fail(new Error(`stuck with ${underWay.size} lists under way`)), STUCK_MS);
    await new Promise<void>((done) => {
      wake = () => (underWay.size === 0 || failures.length > 0 ? done() : undefined);
      wake();
    });
    clearTimeout(stuck);
  }
  function fail(error: Error): void {
    failures.push(error.message);
    wake();
  }
  return {
    get compared() {
      return compared;
    },
    failures,
    fail,
    heard: (streamId, flat, never) => {
      const list = underWay.get(streamId) ?? [];
      underWay.delete(streamId);
      const difference = differenceOf(list, flat, never);
      if (difference !== null) failures.push(`stream ${streamId}: ${difference}`);
      compared += 1;
      wake();
    },
    all: async (send, resize) => {
      for (let sent = 0; sent < lists && failures.length === 0; ) {
        const batch: Sent[] = [];
        for (; batch.length < BATCH && sent < lists; sent += 1) batch.push({ streamId: 2 * sent + 1, list: source.next() });
        for (const { streamId, list } of batch) underWay.set(streamId, list);
        if (random.below(RESIZE_EVERY) === 0) for (let times = 1 + random.below(3); times > 0; times -= 1) resize();
        const answered = send(batch);
        await batchArrives();
        if (failures.length === 0) await answered;
      }
    },
  };
}

/** What differs between a list and what arrived; null for nothing. The other side may mark more fields than we did, but no fewer. */
function differenceOf(list: readonly HeaderEntry[], flat: readonly string[], never: ReadonlySet<string>): string | null {
  if (flat.length !== 2 * list.length) return `${flat.length / 2} fields instead of ${list.length}`;
  for (const [index, { name, value, indexing }] of list.entries()) {
    const heardName = flat[2 * index];
    const heardValue = flat[2 * index + 1];
    if (heardName !== name || heardValue !== value)
      return `${JSON.stringify([heardName, heardValue])} instead of ${JSON.stringify([name, value])}`;
    if (indexing === INDEXING.never && !never.has(name)) return `${name} is no longer marked as never indexed`;
  }
  return null;
}

async function listen(server: Server | ReturnType<typeof createServer>): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}
