// What RFC 9113 does not allow a client, on both hops: refused with the right code on the stream or the connection, and nothing of it reaches the app.
import t from "tap";
import { pause } from "../../support/http2-fixture.ts";
import type { FramePeer } from "../../support/http2-fuzz/frame-peer.ts";
import { FrameMesh, HOPS } from "../../support/http2-fuzz/hops.ts";
import { type Outcome, REQUEST_FLAWS } from "../../support/http2-fuzz/request-flaws.ts";

/** Time in which a request that is passed on would have come to the app, ms. */
const PASSAGE_MS = 10;

function heard(peer: FramePeer, wanted: Outcome): Outcome {
  if ("connection" in wanted || peer.failure !== -1) return { connection: peer.isClosed ? peer.failure : -1 };
  const { sections, resetCode } = peer.on(1);
  const head = sections[0];
  return head === undefined ? { stream: resetCode } : { status: Number(head[head.indexOf(":status") + 1]) };
}

for (const hop of HOPS) {
  t.test(`${hop}: each row of the table is refused as its section says`, async (t) => {
    const frames = new FrameMesh(t);
    let arrived = 0;
    await frames.start((stream, { ":path": path }) => {
      stream.resume();
      if (path === "/never") return; // what is wrong comes behind a head that is right
      arrived += 1;
      stream.respond({ ":status": 200 }, { endStream: true });
    });
    for (const { name, section, bytes, outcome, preface, reachesNobody } of REQUEST_FLAWS) {
      const before = arrived;
      // Detection by first bytes would take what has no preface for another protocol.
      if (hop === "outbound" && section === "3.4" && bytes.length === 0) continue;
      const peer = await frames.connect(hop, preface);
      peer.send(bytes);
      await peer.until(() => JSON.stringify(heard(peer, outcome)) === JSON.stringify(outcome), 2_000);
      t.same(heard(peer, outcome), outcome, `section ${section}: ${name}`);
      if (!("connection" in outcome)) t.notOk(peer.isClosed, "the connection goes on");
      if (reachesNobody === undefined) {
        await pause(PASSAGE_MS);
        t.equal(arrived, before, "nothing of it reaches the app");
      }
      peer.stream.destroy();
    }
    await frames.leavesNothing();
  });
}
