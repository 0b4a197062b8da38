import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import t from "tap";
import { systemClock } from "../../../core/clock.ts";
import { type Detected, detect } from "../../../sidecar/transport/detect.ts";

type Tap = { teardown(run: () => unknown): void };

async function pair(t: Tap): Promise<{ client: Socket; accepted: Socket }> {
  const server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  client.on("error", () => {});
  const [accepted] = (await once(server, "connection")) as [Socket];
  t.teardown(() => {
    client.destroy();
    accepted.destroy();
    server.close();
  });
  return { client, accepted };
}

const looked = (socket: Socket, waitMs: number) =>
  new Promise<Detected["kind"]>((resolve) =>
    detect(socket, { clock: systemClock, silentAfterMs: waitMs, decidedAfterMs: waitMs, suspectsHttp: true }, ({ kind }) => resolve(kind)),
  );

/** Keeps this process from reading and from running timers. */
function stall(ms: number): void {
  const endMonoMs = performance.now() + ms;
  while (performance.now() < endMonoMs);
}

t.test("a process that was busy for longer than the wait still reads what had come in time", async (t) => {
  const { client, accepted } = await pair(t);
  const kind = looked(accepted, 100);
  await new Promise((resolve) => client.write("GET / HTTP/1.1\r\n", resolve));
  stall(300);
  t.equal(await kind, "http1");
});

t.test("the same for bytes that decide", async (t) => {
  const { client, accepted } = await pair(t);
  const kind = looked(accepted, 100);
  client.write("SET key");
  await new Promise((resolve) => setTimeout(resolve, 30));
  await new Promise((resolve) => client.write(" value\r\n", resolve));
  stall(300);
  t.equal(await kind, "opaque");
});

t.test("nothing at all is silence; half a ClientHello is late; half a request line is a request", async (t) => {
  for (const [bytes, expected] of [
    ["", "silent"],
    ["\x16\x03\x01", "late"],
    ["\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half", "late"],
    ["GET /", "http1"],
    ["*1\r", "opaque"],
  ] as const) {
    const { client, accepted } = await pair(t);
    if (bytes !== "") client.write(Buffer.from(bytes, "latin1"));
    t.equal(await looked(accepted, 60), expected, JSON.stringify(bytes));
  }
});

t.test("bytes that come one by one gain no time", async (t) => {
  const { client, accepted } = await pair(t);
  const startedMonoMs = performance.now();
  const timer = setInterval(() => client.write("x"), 10);
  client.write("\x16");
  t.equal(await looked(accepted, 200), "opaque", "an x after the first byte is no TLS record");
  clearInterval(timer);
  const { client: other, accepted: slow } = await pair(t);
  const record = Buffer.from("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "latin1");
  let sent = 0;
  const dribble = setInterval(() => other.write(sent < record.length ? record.subarray(sent, ++sent) : "x"), 10);
  t.equal(await looked(slow, 200), "late");
  clearInterval(dribble);
  t.ok(performance.now() - startedMonoMs < 1_500);
});

t.test("what was read is read again, and a peer that ended already leaves its bytes", async (t) => {
  const { client, accepted } = await pair(t);
  client.write("PING\r\n");
  t.equal(await looked(accepted, 200), "opaque");
  accepted.resume();
  t.equal(String((await once(accepted, "data"))[0]), "PING\r\n");
  const second = await pair(t);
  second.client.end("HALF");
  const [kind, rest] = await new Promise<[string, Buffer | null]>((resolve) =>
    detect(second.accepted, { clock: systemClock, silentAfterMs: 500, decidedAfterMs: 500 }, (found, left) => resolve([found.kind, left])),
  );
  t.same([kind, String(rest)], ["opaque", "HALF"]);
});
