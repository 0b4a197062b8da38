// Tunnels under random cuts: what a client sends behind an upgrade's head, and what an app sends behind its 101, arrive whole, in order and on the other side
// only; each side's end reaches the other while its own direction goes on; and without a 101 the same bytes are the next request.
import t from "tap";
import { createEngine } from "../../../sidecar/create-engine.ts";
import type { Exchange } from "../../../sidecar/exchange.ts";
import { createFakeClock } from "../../support/fake-clock.ts";
import { APP_CONTEXT, passAll } from "../../support/http1-fuzz/passage.ts";
import { MemorySocket } from "../../support/memory-socket.ts";
import { createSeededRandom, type SeededRandom } from "../../support/seeded-random.ts";

const SEED = 7;
const TUNNELS = 400;
const UPGRADE = "GET /chat HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/** One end of a connection, and what it heard. */
class End {
  readonly stream: MemorySocket;
  text = "";
  isEnded = false;

  constructor(stream: MemorySocket, onText: (end: End) => void = () => {}) {
    this.stream = stream;
    stream.on("data", (chunk: Buffer) => {
      this.text += chunk.toString("latin1");
      onText(this);
    });
    stream.on("end", () => {
      this.isEnded = true;
    });
    stream.on("error", () => {});
  }

  send(random: SeededRandom, text: string): void {
    for (let from = 0; from < text.length; ) {
      const to = random.below(3) === 0 ? text.length : from + 1 + random.below(text.length - from);
      this.stream.write(Buffer.from(text.slice(from, to), "latin1"));
      from = to;
    }
  }
}

let activity = 0;

async function settled(): Promise<void> {
  for (let quiet = 0; quiet < 6; ) {
    const before = activity;
    await new Promise<void>((resolve) => setImmediate(resolve));
    quiet = before === activity ? quiet + 1 : 0;
  }
}

/** Connects a client through a new engine to an app that answers the first head with `answer`, cut at random. */
async function connect(t: { teardown(run: () => unknown): void }, random: SeededRandom, answer: string) {
  const clock = createFakeClock();
  const engine = await createEngine("splice", clock);
  t.teardown(() => engine.close());
  const move = () => {
    activity += 1;
  };
  const apps: End[] = [];
  const finished: Exchange[] = [];
  const handler = passAll(
    (done) => {
      const [ours, theirs] = MemorySocket.pair(move);
      let isAnswered = false;
      apps.push(
        new End(theirs, (app) => {
          if (isAnswered || !app.text.includes("\r\n\r\n")) return;
          isAnswered = true;
          app.send(random, answer);
        }),
      );
      done(null, { kind: "plain", stream: ours });
    },
    (exchange) => void finished.push(exchange),
  );
  const [ours, theirs] = MemorySocket.pair(move);
  engine.serve({ stream: theirs, context: APP_CONTEXT, handler, tunnel: null });
  return { client: new End(ours), apps, finished };
}

/** Bytes that mean something to HTTP, and must not inside a tunnel. */
function someBytes(random: SeededRandom): string {
  const parts = ["\r\n", "0\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "\0\xff", "x".repeat(1 + random.below(2000))];
  return Array.from({ length: random.below(6) }, () => random.pick(parts)).join("");
}

t.test(`${TUNNELS} tunnels carry every byte to the other side, and each end`, async (t) => {
  const random = createSeededRandom(SEED);
  for (let index = 0; index < TUNNELS; index += 1) {
    const [early, late, greeting] = [someBytes(random), someBytes(random), someBytes(random)];
    const { client, apps, finished } = await connect(t, random, SWITCH + greeting);
    client.send(random, UPGRADE + early);
    await settled();
    const app = apps[0] as End;
    const label = `seed ${SEED}, tunnel ${index}`;
    const heardBy = (end: End) => end.text.slice(end.text.indexOf("\r\n\r\n") + 4);
    const isSwitched = /^HTTP\/1\.1 101 /.test(client.text);
    const [first, second] = random.below(2) === 0 ? [client, app] : [app, client];
    first.stream.end();
    await settled();
    second.send(random, late);
    second.stream.end();
    await settled();
    const expected = { isSwitched, app: early + (second === client ? late : ""), client: greeting + (second === app ? late : "") };
    const seen = { isSwitched: true, app: heardBy(app), client: heardBy(client) };
    if (JSON.stringify(expected) !== JSON.stringify(seen)) t.same(seen, expected, label);
    if (!client.isEnded || !app.isEnded || finished.length !== 1)
      t.fail(`${label}: ends ${client.isEnded} ${app.isEnded}, finished ${finished.length}`);
  }
  t.pass("all of them");
});

t.test("a refused upgrade leaves HTTP: what follows is a request, and a reset of either side is felt by the other", async (t) => {
  const random = createSeededRandom(SEED + 1);
  for (let index = 0; index < 100; index += 1) {
    const { client, apps } = await connect(t, random, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    client.send(random, `${UPGRADE}GET /next HTTP/1.1\r\nHost: orders\r\n\r\n`);
    await settled();
    const text = apps.map((app) => app.text).join("");
    t.match(client.text, /^HTTP\/1\.1 403 [^]*\r\n\r\nno/, `upgrade ${index}`);
    t.match(text, /GET \/next HTTP\/1\.1\r\n/, "the next request is one");

    const tunnel = await connect(t, random, SWITCH);
    tunnel.client.send(random, UPGRADE);
    await settled();
    const app = tunnel.apps[0] as End;
    const [breaks, other] = index % 2 === 0 ? [tunnel.client, app] : [app, tunnel.client];
    breaks.stream.destroy();
    await settled();
    t.ok(other.stream.destroyed, "broken off on the other side");
    t.equal(tunnel.finished.length, 1);
  }
});
