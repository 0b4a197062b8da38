// Peers of HTTP/2 that are slow on purpose, on both hops: what does not end, and what is not read, is given up in its time, and nobody waits for it. The times
// are short ones of this test.
import t from "tap";
import { createEngine } from "../../../sidecar/create-engine.ts";
import type { Upstream } from "../../../sidecar/engine.ts";
import { createFakeClock } from "../../support/fake-clock.ts";
import { APP_CONTEXT, passAll } from "../../support/http1-fuzz/passage.ts";
import { MemorySocket } from "../../support/memory-socket.ts";
import { eventually } from "../../support/raw-peers.ts";
import { ask, finish, pause } from "../../support/http2-fixture.ts";
import { FramePeer } from "../../support/http2-fuzz/frame-peer.ts";
import {
  block,
  CLIENT_PREFACE,
  data,
  FLAG,
  FRAME,
  frame,
  headers,
  PREFACE,
  request,
  settings,
} from "../../support/http2-fuzz/frame-text.ts";
import { FrameMesh, HOPS } from "../../support/http2-fuzz/hops.ts";

const SHORT_MS = 400;
const TIMEOUTS = { headMs: SHORT_MS, stallMs: SHORT_MS, discardMs: SHORT_MS };
/** Between two pieces of a trickle. */
const TRICKLE_MS = 50;
const ENHANCE_YOUR_CALM = 11;
const PATIENCE_MS = 20_000;
/** An app has this long for a frame and some sweeps, s. */
const APP_PATIENCE_S = 20;

/** A slow client that loses its connection. */
interface SlowConnection {
  readonly name: string;
  readonly preface?: Buffer;
  readonly before: Buffer;
  /** What it sends again and again. */
  readonly trickle: Buffer;
  readonly code: number;
  readonly kind?: string;
}

const HEAD = block(request());

const SLOW_CONNECTIONS: readonly SlowConnection[] = [
  {
    name: "a header section whose CONTINUATIONs trickle",
    before: frame(FRAME.headers, 0, 1, HEAD),
    trickle: Buffer.alloc(0),
    code: ENHANCE_YOUR_CALM,
    kind: "slow_frame",
  },
  {
    name: "a frame whose octets trickle",
    before: frame(FRAME.headers, FLAG.endHeaders, 1, Buffer.alloc(16_000)).subarray(0, 20),
    trickle: Buffer.alloc(1),
    code: ENHANCE_YOUR_CALM,
    kind: "slow_frame",
  },
  { name: "no SETTINGS", preface: PREFACE, before: Buffer.alloc(0), trickle: Buffer.alloc(0), code: 4 },
];

for (const hop of HOPS) {
  t.test(`${hop}: what does not end ends its connection in time`, async (t) => {
    const frames = new FrameMesh(t);
    const pair = await frames.start((stream) => stream.respond({ ":status": 200 }, { endStream: true }), { timeouts: TIMEOUTS });
    const beside = frames.mesh.connectHttp2(pair.outboundPort);
    for (const { name, preface = CLIENT_PREFACE, before, trickle, code, kind } of SLOW_CONNECTIONS) {
      const peer = await frames.connect(hop, preface);
      peer.send(before);
      const trickling = setInterval(() => peer.send(trickle), TRICKLE_MS);
      const isOver = await peer.until(() => peer.isClosed, PATIENCE_MS);
      clearInterval(trickling);
      t.ok(isOver, `${name}: closed`);
      t.equal(peer.failure, code, `${name}: GOAWAY`);
      if (kind !== undefined)
        t.ok(
          (await frames.metric(hop, `remora_http2_floods_total\\{direction="${hop}",peer="client",kind="${kind}"\\}`)) > 0,
          `${name}: counted`,
        );
      t.equal((await finish(ask(beside))).status, 200, "nobody else is held up");
    }
    await frames.leavesNothing();
  });

  t.test(`${hop}: a client without a window gets its answer for so long only`, async (t) => {
    const frames = new FrameMesh(t);
    const pair = await frames.start(
      (stream) => {
        stream.respond({ ":status": 200 });
        stream.end(Buffer.alloc(10_000));
      },
      { timeouts: TIMEOUTS },
    );
    const peer = await frames.connect(hop, Buffer.concat([PREFACE, settings([4, 0])]));
    for (let id = 1; id < 40; id += 2) peer.send(headers(id, request()));
    t.ok(await peer.until(() => resets(peer) === 20, PATIENCE_MS), `${resets(peer)} of 20 streams are reset`);
    t.equal(peer.goawayCode, -1);
    t.equal(await frames.metric(hop, `remora_refused_total\\{direction="${hop}",reason="timeout"\\}`), 20, "each is counted");
    t.equal((await finish(ask(frames.mesh.connectHttp2(pair.outboundPort)))).body.length, 10_000);
    await frames.leavesNothing();
  });

  t.test(
    `${hop}: a client that sends nothing of the request it began is refused, however many do it; a stream of gRPC may rest`,
    async (t) => {
      const frames = new FrameMesh(t);
      await frames.start((stream) => stream.resume(), { timeouts: TIMEOUTS });
      const peer = await frames.connect(hop);
      for (let id = 1; id < 40; id += 2) peer.send(headers(id, request("POST"), false));
      const call = 101;
      if (hop === "outbound")
        peer.send(headers(call, [...request("POST"), ["content-type", "application/grpc"], ["te", "trailers"]], false), data(call, "x"));
      t.ok(await peer.until(() => statuses(peer) === 20, PATIENCE_MS), `${statuses(peer)} of 20 are answered`);
      t.match(peer.on(1).sections[0]?.join(" "), /^:status 504 /);
      t.match(peer.on(call), { sections: [], resetCode: -1 }, "the call goes on");
      await frames.leavesNothing();
    },
  );
}

/** What a slow app sends for a request, and then again and again. */
const SLOW_APPS: readonly { readonly name: string; readonly first: (id: number) => Buffer; readonly trickle: Buffer }[] = [
  {
    name: "trailers that never end",
    first: (id) =>
      Buffer.concat([headers(id, [[":status", "200"]], false), frame(FRAME.headers, FLAG.endStream, id, block([["x-a", "b"]]))]),
    trickle: Buffer.alloc(0),
  },
  {
    name: "a head whose octets trickle",
    first: (id) => frame(FRAME.headers, FLAG.endHeaders, id, Buffer.alloc(16_000)).subarray(0, 20),
    trickle: Buffer.alloc(1),
  },
];

for (const { name, first, trickle } of SLOW_APPS) {
  t.test(`an app with ${name}: the connection is given up in its time, and all that was asked on it is told`, async (t) => {
    const clock = createFakeClock();
    const engine = await createEngine("splice", clock);
    const [client, theirs] = MemorySocket.pair(() => {});
    const peer = new FramePeer(client);
    let app: FramePeer | null = null;
    let finished = 0;
    const dial: Upstream["dial"] = (done) => {
      const [ours, far] = MemorySocket.pair(() => {});
      app = new FramePeer(far, true);
      app.send(settings());
      app.onFrame = ({ type, id }) => {
        if (type === FRAME.headers && id === 1) app?.send(first(id));
      };
      done(null, { kind: "plain", stream: ours });
    };
    engine.serve({
      stream: theirs,
      context: { ...APP_CONTEXT, protocol: "http2" },
      handler: passAll(dial, () => (finished += 1)),
      tunnel: null,
    });
    peer.send(CLIENT_PREFACE, headers(1, request()), headers(3, request()));
    await pause(20);
    for (let second = 0; second < APP_PATIENCE_S && finished < 2; second += 1) {
      (app as FramePeer | null)?.send(trickle);
      await pause(1);
      await clock.advanceAsync(1_000, 500);
    }
    t.equal(finished, 2);
    t.match(peer.on(3).sections[0]?.slice(0, 2), [":status", "502"], "who waited behind it");
    t.ok(await eventually(() => (app as FramePeer | null)?.failure === ENHANCE_YOUR_CALM));
    engine.close();
  });
}

function resets(peer: FramePeer): number {
  return [...peer.heard.values()].filter(({ resetCode }) => resetCode !== -1).length;
}

function statuses(peer: FramePeer): number {
  return [...peer.heard.values()].filter(({ sections }) => sections.length > 0).length;
}
