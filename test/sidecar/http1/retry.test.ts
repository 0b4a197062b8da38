// A request on a pooled connection that dies before its answer: sent once more on a new one, which has the time that any connection has.
import t from "tap";
import { createEngine } from "../../../sidecar/create-engine.ts";
import type { UpstreamConnection } from "../../../sidecar/engine.ts";
import { createFakeClock } from "../../support/fake-clock.ts";
import { APP_CONTEXT, passAll } from "../../support/http1-fuzz/passage.ts";
import { MemorySocket } from "../../support/memory-socket.ts";
import { eventually } from "../../support/raw-peers.ts";

const QUEUE_MS = 1_000;
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

type Tap = { teardown(run: () => unknown): void };
type Dialled = (error: Error | null, connection: UpstreamConnection | null) => void;

/** A client whose second request has waited for longer than a connection may take, and whose connection to the app is then reset. */
async function connectionLost(t: Tap, method: string) {
  const clock = createFakeClock();
  const engine = await createEngine("splice", clock, { queueMs: QUEUE_MS });
  t.teardown(() => engine.close());
  const dials: Dialled[] = [];
  const handler = passAll((done) => void dials.push(done));
  const [client, served] = MemorySocket.pair(() => {});
  let answers = "";
  client.on("error", () => {}); // the engine closes with the test
  client.on("data", (chunk: Buffer) => {
    answers += chunk.toString("latin1");
  });
  engine.serve({ stream: served, context: APP_CONTEXT, handler, tunnel: null });

  /** Completes the dial that is under way; gives the app's end, which counts the requests that it gets. */
  async function accept() {
    await eventually(() => dials.length === 1);
    const [ours, app] = MemorySocket.pair(() => {});
    let requests = 0;
    app.on("data", () => {
      requests += 1;
    });
    app.on("error", () => {});
    (dials.pop() as Dialled)(null, { kind: "plain", stream: ours });
    return { app, requests: () => requests };
  }
  client.write(`${method} / HTTP/1.1\r\nHost: orders\r\n\r\n`);
  const first = await accept();
  await eventually(() => first.requests() === 1);
  first.app.write(OK);
  await eventually(() => answers.endsWith("ok"));
  client.write(`${method} / HTTP/1.1\r\nHost: orders\r\n\r\n`);
  await eventually(() => first.requests() === 2);
  clock.advance(5 * QUEUE_MS); // the app thinks
  answers = "";
  first.app.destroy();
  return { clock, dials, accept, answers: () => answers };
}

t.test("how long the dead connection was silent does not count against the new one", async (t) => {
  const { clock, accept, answers, dials } = await connectionLost(t, "GET");
  t.ok(await eventually(() => dials.length === 1), "it is tried again");
  clock.advance(QUEUE_MS / 2);
  t.equal(answers(), "", "and waited for");
  const { app, requests } = await accept();
  t.ok(await eventually(() => requests() === 1));
  app.write(OK);
  t.ok(await eventually(() => answers().endsWith("ok")));
});

t.test("a new connection that does not come in time either is the end of it", async (t) => {
  const { clock, answers, dials } = await connectionLost(t, "GET");
  await eventually(() => dials.length === 1);
  clock.advance(2 * QUEUE_MS);
  t.ok(await eventually(() => answers().startsWith("HTTP/1.1 503 ")), answers());
});

t.test("what must not be done twice is not sent twice", async (t) => {
  const { answers, dials } = await connectionLost(t, "PATCH");
  t.ok(await eventually(() => answers().startsWith("HTTP/1.1 502 ")), answers());
  t.equal(dials.length, 0);
});
