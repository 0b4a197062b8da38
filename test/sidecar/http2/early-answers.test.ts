// Answers that are whole before their requests (RFC 9113 section 8.1), from apps that then want no more, or still read.
import t from "tap";
import { eventually } from "../../support/raw-peers.ts";
import { data, FRAME, headers, PREFACE, request, reset, settings, windowUpdate } from "../../support/http2-fuzz/frame-text.ts";
import { FrameMesh, HOPS } from "../../support/http2-fuzz/hops.ts";

const NO_ERROR = 0;

for (const hop of HOPS) {
  t.test(`${hop}: an app that answers at once and wants no more, before a client that reads slowly and goes on sending`, async (t) => {
    const frames = new FrameMesh(t);
    await frames.startRaw((app) => {
      app.send(settings());
      app.onFrame = ({ type, id }) => {
        if (type === FRAME.headers) app.send(headers(id, [[":status", "200"]], false), data(id, "early", true), reset(id, NO_ERROR));
      };
    });
    const peer = await frames.connect(hop, Buffer.concat([PREFACE, settings([4, 0])]));
    peer.send(headers(1, request("POST"), false));
    t.ok(await peer.until(() => peer.on(1).sections.length > 0));
    peer.send(data(1, "still"), data(1, "sending"), headers(1, [["x-sum", "7"]]));
    peer.send(windowUpdate(1, 100));
    t.ok(await peer.until(() => peer.on(1).isEnded), "the answer comes whole");
    t.equal(peer.on(1).body, "early");
    peer.send(headers(3, request()));
    peer.send(windowUpdate(3, 100));
    t.ok(await peer.until(() => peer.on(3).isEnded), "and so does the next");
    await frames.leavesNothing();
  });

  t.test(`${hop}: an app that answers at once and goes on reading gets the whole request`, async (t) => {
    const frames = new FrameMesh(t);
    let content = "";
    await frames.startRaw((app) => {
      app.send(settings([4, 10]));
      app.onFrame = ({ type, id, payload }) => {
        if (type === FRAME.headers) app.send(headers(id, [[":status", "202"]]));
        if (type !== FRAME.data) return;
        content += payload.toString("latin1");
        setTimeout(() => app.send(windowUpdate(id, 10)), 1);
      };
    });
    const peer = await frames.connect(hop);
    peer.send(headers(1, request("POST"), false), data(1, "r".repeat(300), true));
    t.ok(await peer.until(() => peer.on(1).isEnded));
    t.ok(await eventually(() => content.length === 300), `${content.length} of 300 octets`);
    await frames.leavesNothing();
  });
}
