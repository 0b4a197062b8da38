// What peers do to the connections that requests share: an app that says GOAWAY while its streams go on, one that allows no streams, and clients whose resets must
// not use up what the app's server allows a peer.
import t from "tap";
import { ask, finish } from "../../support/http2-fixture.ts";
import { FRAME, goaway, headers, request, reset, settings } from "../../support/http2-fuzz/frame-text.ts";
import { FrameMesh } from "../../support/http2-fuzz/hops.ts";

const CANCEL = 8;
const REFUSED_STREAM = 7;
/** More connections than one upstream gets. */
const CONNECTIONS = 12;
/** What nghttp2 allows a peer at once. */
const RESETS_ALLOWED = 1_000;

t.test("an app that retires each of its connections while a stream on it goes on is served on new ones", async (t) => {
  const frames = new FrameMesh(t);
  const pair = await frames.startRaw((app) => {
    app.send(settings());
    app.onFrame = ({ type, id }) => {
      if (type !== FRAME.headers) return;
      const isLong = app.on(id).sections[0]?.includes("/long") === true;
      app.send(headers(id, [[":status", "200"]], !isLong));
      if (isLong) app.send(goaway(id, 0));
    };
  });
  const client = frames.mesh.connectHttp2(pair.outboundPort);
  const streams = [];
  for (let index = 0; index < CONNECTIONS; index += 1) {
    const stream = ask(client, { ":path": "/long" });
    await new Promise((resolve) => stream.once("response", resolve));
    streams.push(stream);
  }
  t.equal((await finish(ask(client))).status, 200);
  for (const stream of streams) stream.close(CANCEL);
  await frames.leavesNothing();
});

t.test("GOAWAY for all streams, again and again: a request is tried a few times and is a 502", async (t) => {
  const frames = new FrameMesh(t);
  let connections = 0;
  const pair = await frames.startRaw((app) => {
    connections += 1;
    app.send(settings());
    app.onFrame = ({ type }) => {
      if (type === FRAME.headers) app.send(...Array.from({ length: 10 }, () => goaway(0, 0)));
    };
  });
  t.equal((await finish(ask(frames.mesh.connectHttp2(pair.outboundPort)))).status, 502);
  t.ok(connections <= 4, `${connections} connections`);
  await frames.leavesNothing();
});

t.test("an app that resets everything hurts only what it was asked", async (t) => {
  const frames = new FrameMesh(t);
  const pair = await frames.startRaw((app) => {
    app.send(settings());
    app.onFrame = ({ type, id }) => {
      if (type === FRAME.headers) app.send(reset(id, REFUSED_STREAM), reset(id, CANCEL), reset(id, CANCEL));
    };
  });
  const client = frames.mesh.connectHttp2(pair.outboundPort);
  const answers = await Promise.all(Array.from({ length: 200 }, () => finish(ask(client))));
  t.same([...new Set(answers.map(({ status }) => status))], [502]);
  await frames.leavesNothing();
});

t.test("no connection to the app sees so many resets that its server takes the sidecar for an attacker", async (t) => {
  const frames = new FrameMesh(t);
  const resets = new Map<number, number>();
  await frames.startRaw((app, index) => {
    app.send(settings());
    app.onFrame = ({ type, id }) => {
      if (type === FRAME.reset) resets.set(index, (resets.get(index) ?? 0) + 1);
      else if (type === FRAME.headers && app.on(id).sections[0]?.includes("/late") === false) app.send(headers(id, [[":status", "200"]]));
    };
  });
  const peer = await frames.connect("inbound");
  for (let id = 1; id < 4_000; id += 20) {
    for (let each = id; each < id + 20; each += 2) peer.send(headers(each, request("GET", "/late")), reset(each, CANCEL));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  peer.send(headers(4_001, request()));
  t.ok(await peer.until(() => peer.on(4_001).isEnded));
  t.ok(Math.max(...resets.values()) < RESETS_ALLOWED, `${[...resets.values()]} resets`);
  await frames.leavesNothing();
});
