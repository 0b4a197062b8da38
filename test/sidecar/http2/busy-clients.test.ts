// Clients that do much of what floods are made of, and mean it: none is taken for one, by either hop.
import t from "tap";
import { ask, finish, pause } from "../../support/http2-fixture.ts";
import { data, FLAG, FRAME, frame, headers, request, reset, uint32, windowUpdate } from "../../support/http2-fuzz/frame-text.ts";
import { FrameMesh, HOPS } from "../../support/http2-fuzz/hops.ts";

const CANCEL = 8;

for (const hop of HOPS) {
  t.test(`${hop}: 2000 calls that are cancelled by a deadline of a few milliseconds`, async (t) => {
    const frames = new FrameMesh(t);
    const pair = await frames.start((stream, { ":path": path }) => {
      stream.resume();
      if (path === "/late") return;
      stream.respond({ ":status": 200 }, { endStream: true });
    });
    const peer = await frames.connect(hop);
    const beside = frames.mesh.connectHttp2(pair.outboundPort);
    const failed: unknown[] = [];
    for (let id = 1; id < 4_000; id += 2) {
      peer.send(headers(id, request("POST", "/late")));
      if (id > 40) peer.send(reset(id - 40, CANCEL));
      if (id % 20 !== 1) continue;
      await pause(1);
      const { status, code } = await finish(ask(beside));
      if (status !== 200) failed.push({ id, status, code });
    }
    peer.send(headers(5_001, request()));
    t.ok(await peer.until(() => peer.on(5_001).isEnded), "the connection goes on");
    t.equal(peer.goawayCode, -1);
    t.same(failed, [], "nobody else's calls fail on the connections that they share");
    await frames.leavesNothing();
  });

  t.test(`${hop}: a ping and WINDOW_UPDATEs for each frame of DATA, as grpc-go and grpc-core send them`, async (t) => {
    const frames = new FrameMesh(t);
    await frames.start((stream) => {
      stream.respond({ ":status": 200 });
      stream.pipe(stream);
    });
    const peer = await frames.connect(hop);
    let pings = 0;
    peer.onFrame = ({ type, id, payload }) => {
      if (type !== FRAME.data || payload.length === 0) return;
      pings += 1;
      peer.send(frame(FRAME.ping, 0, 0, Buffer.alloc(8)), windowUpdate(0, payload.length), windowUpdate(id, payload.length));
    };
    peer.send(headers(1, request("POST"), false));
    for (let index = 0; index < 1_500; index += 1) {
      peer.send(data(1, "x"));
      const wanted = index + 1;
      await peer.until(() => peer.on(1).body.length === wanted);
    }
    peer.send(data(1, "", true));
    t.ok(await peer.until(() => peer.on(1).isEnded));
    t.equal(peer.on(1).body.length, 1_500);
    t.ok(pings >= 1_000, `${pings} pings`);
    t.equal(peer.goawayCode, -1);
    await frames.leavesNothing();
  });

  t.test(`${hop}: 1000 streams opened at once, each with a window and a priority of its own, five times over`, async (t) => {
    const frames = new FrameMesh(t);
    await frames.start((stream) => {
      stream.resume();
      stream.respond({ ":status": 200 });
      stream.end("fine");
    });
    const peer = await frames.connect(hop);
    for (let round = 0; round < 5; round += 1) {
      const ids = Array.from({ length: 1_000 }, (_, index) => 2 * (round * 1_000 + index) + 1);
      const priority = Buffer.concat([uint32(0), Buffer.from([15])]);
      const open = (id: number) => [headers(id, request()), frame(FRAME.priority, 0, id, priority), windowUpdate(id, 65_536)];
      peer.send(...ids.flatMap(open));
      t.ok(await peer.until(() => ids.every((id) => peer.on(id).isEnded), 8_000), `round ${round}`);
      t.same([...new Set(ids.map((id) => peer.on(id).body))], ["fine"]);
    }
    t.equal(peer.goawayCode, -1);
    await frames.leavesNothing();
  });

  t.test(`${hop}: frames that cross a reset on their way do no harm`, async (t) => {
    const frames = new FrameMesh(t);
    await frames.start((stream) => {
      stream.resume();
      stream.respond({ ":status": 200 }, { endStream: true });
    });
    const peer = await frames.connect(hop);
    for (let id = 1; id < 400; id += 2) {
      peer.send(headers(id, request("POST"), false), ...Array.from({ length: 20 }, () => data(id, "small")), reset(id, CANCEL));
      // What another thread of the client still had to send.
      peer.send(...Array.from({ length: 20 }, () => data(id, "small")), frame(FRAME.data, FLAG.endStream, id));
      await pause(0);
    }
    peer.send(headers(5_001, request()));
    t.ok(await peer.until(() => peer.on(5_001).isEnded));
    t.equal(peer.goawayCode, -1);
    await frames.leavesNothing();
  });
}
