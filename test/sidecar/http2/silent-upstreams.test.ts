// A stream in which nothing happens for long. Between sidecars a PING finds out soon whether the other one is still there; an app must not be asked as often: servers of
// gRPC close a connection after the third PING within five minutes without data ("too_many_pings", gRFC A8), with all of its calls.
import t from "tap";
import type { UpstreamConnection as Dialled } from "../../../sidecar/engine.ts";
import { UpstreamConnection } from "../../../sidecar/http2/upstream-connection.ts";
import { FlatFields, NO_EDIT } from "../../../sidecar/fields.ts";
import { h2Frame } from "../../support/http2-fixture.ts";
import { MemorySocket } from "../../support/memory-socket.ts";

const SECOND_MS = 1_000;
/** Turns of the event loop that a PING and its answer take here, and some more. */
const TURNS = 6;
const SETTINGS = 4;
const PING = 6;
const ACK = 1;
const NO_FIELDS = new FlatFields([]);

/** PINGs that an upstream which answers all of them gets within `seconds` of silence; it may not answer at all. */
async function pingsWithin(kind: Dialled["kind"], seconds: number, answers = true): Promise<{ pings: number; isOver: boolean }> {
  const engine = { nowMonoMs: 1 };
  const [near, far] = MemorySocket.pair(() => {});
  const dialled = (kind === "plain" ? { kind, stream: near } : { kind, mesh: { socket: near } }) as unknown as Dialled; // all of it that is used
  const ignored = () => {};
  near.on("error", ignored);
  far.on("error", ignored);
  const connection = new UpstreamConnection(dialled, engine, { onReady: ignored, onRoom: ignored, onFlood: ignored, onRetired: ignored });
  let pings = 0;
  far.on("data", (bytes: Buffer) => {
    const frame = bytes.subarray(bytes.length - 17);
    if (frame.readUIntBE(0, 3) !== 8 || frame[3] !== PING || frame[4] === ACK) return;
    pings += 1;
    frame[4] = ACK;
    if (answers) far.write(frame);
  });
  far.write(h2Frame(SETTINGS, 0, 0, Buffer.alloc(0)));
  connection.start();
  const stream = connection.open({ onHead: ignored, onData: ignored, onTrailers: ignored, onReset: ignored, onSent: ignored });
  connection.heads.begin(NO_FIELDS, NO_EDIT, 0);
  connection.heads.end(stream.id, false);
  for (let second = 0; second < seconds; second += 1) {
    engine.nowMonoMs += SECOND_MS;
    connection.check(60 * SECOND_MS, SECOND_MS);
    for (let turn = 0; turn < TURNS; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
  const found = { pings, isOver: connection.isOver };
  connection.destroy();
  far.destroy();
  return found;
}

t.test("another sidecar is asked every ten seconds, and given up when it does not answer", async (t) => {
  const answered = await pingsWithin("mesh", 60);
  t.ok(answered.pings >= 4 && answered.pings <= 6, `${answered.pings} PINGs in a minute`);
  t.notOk(answered.isOver);
  t.ok((await pingsWithin("mesh", 30, false)).isOver);
});

t.test("an app is not asked more often than gRPC allows", async (t) => {
  t.same(await pingsWithin("plain", 5 * 60), { pings: 0, isOver: false });
  const { pings, isOver } = await pingsWithin("plain", 30 * 60);
  t.ok(pings >= 1 && pings <= 6, `${pings} PINGs in half an hour`);
  t.notOk(isOver);
});
