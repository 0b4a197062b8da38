// What an app may not answer, and hostile apps: their own requests are a 502 or a reset, nothing of a flawed answer is passed on, nothing is left behind, and the
// next request is served.
import t from "tap";
import { ask, finish } from "../../support/http2-fixture.ts";
import { ANSWER_FLAWS, type Outcome } from "../../support/http2-fuzz/answer-flaws.ts";
import type { FramePeer } from "../../support/http2-fuzz/frame-peer.ts";
import { FRAME, headers, settings } from "../../support/http2-fuzz/frame-text.ts";
import { FrameMesh } from "../../support/http2-fuzz/hops.ts";

t.test("each row of the table is refused as its section says, and the next request is served", async (t) => {
  const frames = new FrameMesh(t);
  let answer: (app: FramePeer, id: number) => void = () => {};
  const apps = new Set<FramePeer>();
  const pair = await frames.startRaw((app) => {
    apps.add(app);
    app.stream.once("close", () => apps.delete(app));
    app.send(settings());
    app.onFrame = ({ type, id }) => {
      if (type === FRAME.headers) answer(app, id);
    };
  });
  const client = frames.mesh.connectHttp2(pair.outboundPort);
  for (const row of ANSWER_FLAWS) {
    const { name, section, outcome, flood, method = "GET" } = row;
    const label = `remora_http2_floods_total\\{direction="inbound",peer="upstream",kind="${flood ?? ".*"}"\\}`;
    const counted = await frames.metric("inbound", label);
    answer = row.answer;
    const answered = await finish(ask(client, { ":method": method }));
    const found: Outcome = "status" in outcome ? { status: answered.status } : { isReset: (answered.code !== 0) as true };
    t.same(found, outcome, `section ${section}: ${name}`);
    t.equal(await frames.metric("inbound", label), counted + (flood === undefined ? 0 : 1), "counted where it is a flood");
    answer = (app, id) =>
      app.send(
        headers(id, [
          [":status", "200"],
          ["x-next", name.replaceAll(/[^\x20-\x7e]/g, "")],
        ]),
      );
    const next = await finish(ask(client));
    t.match(next, { status: 200, headers: { "x-next": name } }, "the next request is served");
  }
  t.equal(await frames.metric("outbound", "remora_http2_floods_total\\{.*\\}"), 0);
  await frames.leavesNothing();
});
