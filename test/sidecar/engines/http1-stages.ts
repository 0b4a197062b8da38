// What the stage lists decide, seen through an engine: who called, who may, how often, and what a refusal looks like.
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

import type { EngineName } from "../../../sidecar/engine.ts";
import { ask, GET, type Handler, http1Tests, raw } from "../../support/http1-fixture.ts";

/** Registers the tests for one engine. */
export function http1Stages(engine: EngineName): void {
  const test = http1Tests(engine);

  test("a request passes both hops; the app sees who called and nothing forged", async (t, mesh) => {
    let seen: IncomingMessage["headers"] = {};
    const pair = await mesh.inFrontOf((request, response) => {
      seen = request.headers;
      response.setHeader("set-cookie", ["a=1", "b=2"]).setHeader("x-remora-reason", "forged").end(`hello ${request.url}`);
    });
    const answer = await ask(pair.outboundPort, {
      path: "/a?b=1",
      headers: {
        "x-remora-client-id": "spiffe://forged",
        "x-forwarded-client-cert": "forged",
        connection: "x-secret",
        "x-secret": "1",
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      },
    });
    t.equal(answer.status, 200);
    t.equal(answer.body, "hello /a?b=1");
    t.same(answer.headers["set-cookie"], ["a=1", "b=2"]);
    t.equal(answer.headers["x-remora-reason"], undefined, "the app cannot speak for the mesh");
    t.equal(seen["x-remora-client-id"], "spiffe://cluster.local/ns/demo/sa/web");
    t.equal(seen["x-forwarded-client-cert"], "By=spiffe://cluster.local/ns/demo/sa/orders;URI=spiffe://cluster.local/ns/demo/sa/web");
    t.equal(seen["x-secret"], undefined, "a field named by Connection is hop-by-hop");
    t.equal(seen.host, "orders");
    t.match(seen["x-request-id"], /^[0-9a-f]{32}$/);
    t.equal(
      seen.traceparent,
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      "nobody records spans here, so the trace passes as it came",
    );
  });

  test("rate limit: 429 with retry-after and RateLimit fields, told to a meshed peer", async (t, mesh) => {
    const pair = await mesh.inFrontOf((_request, response) => response.end("ok"), { rateLimit: "1/m" });
    t.equal((await ask(pair.outboundPort)).status, 200);
    const refused = await ask(pair.outboundPort);
    t.equal(refused.status, 429);
    t.match(refused.headers, {
      "x-remora-reason": "rate_limited",
      "retry-after": /^[0-9]+$/,
      ratelimit: /r=0/,
      "ratelimit-policy": /q=1;w=60/,
    });
    t.match(await pair.calleeMetrics.registry.metrics(), /remora_refused_total\{direction="inbound",reason="rate_limited"\} 1/);
  });

  test("access: an identity that is not in the list is answered 403", async (t, mesh) => {
    const pair = await mesh.inFrontOf((_request, response) => response.end("ok"), { allow: "demo/other" });
    t.match(await ask(pair.outboundPort), { status: 403, headers: { "x-remora-reason": "forbidden" } });
  });

  test("load shedding: past the bound 503 with retry-after, at once", async (t, mesh) => {
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const pair = await mesh.inFrontOf(
      async (_request, response) => {
        await held;
        response.end("ok");
      },
      { maxInFlight: 1 },
    );
    const first = ask(pair.outboundPort);
    await new Promise((resolve) => setTimeout(resolve, 200));
    t.match(await ask(pair.outboundPort), { status: 503, headers: { "x-remora-reason": "overloaded", "retry-after": "1" } });
    release();
    t.equal((await first).status, 200);
    t.equal((await ask(pair.outboundPort)).status, 200, "and the place is free again");
  });

  test("a dead app is a 502, a dead instance is gone around", async (t, mesh) => {
    const closed = createServer().listen(0);
    await once(closed, "listening");
    const nobody = (closed.address() as AddressInfo).port;
    await new Promise((resolve) => closed.close(resolve));
    const dead = await mesh.pairFor(nobody);
    t.match(await ask(dead.outboundPort), { status: 502 });

    const pair = await mesh.inFrontOf((request, response) => request.pipe(response), { otherInboundPorts: [nobody, nobody] });
    for (let index = 0; index < 20; index++) {
      const answer = await ask(pair.outboundPort, { method: "POST", body: `body ${index}` });
      t.equal(answer.body, `body ${index}`, "the body of a request that was tried twice is whole");
    }
  });

  test("strict: plaintext to the inbound port is cut off; permissive: served without an identity", async (t, mesh) => {
    const handler: Handler = (request, response) => response.end(`client ${request.headers["x-remora-client-id"] ?? "none"}`);
    const strict = await mesh.inFrontOf(handler);
    t.equal(await raw(strict.inboundPort, "GET / HTTP/1.1\r\nHost: orders\r\n\r\n"), "");
    t.match(await strict.calleeMetrics.registry.metrics(), /remora_refused_total\{direction="inbound",reason="plaintext_refused"\} 1/);
    const permissive = await mesh.inFrontOf(handler, { mode: "permissive" });
    const answer = await ask(permissive.inboundPort, { headers: { "x-remora-client-id": "spiffe://forged" } });
    t.equal(answer.body, "client none");
  });

  test("egress: deny refuses what is not in the mesh, allow passes it on, and the way back is never taken", async (t, mesh) => {
    const outside = await mesh.listen(createServer((request, response) => response.end(`outside ${request.headers.host}`)));
    const open = await mesh.inFrontOf((_request, response) => response.end());
    t.match(await ask(open.outboundPort, { headers: { host: `127.0.0.1:${outside}` } }), {
      status: 200,
      body: `outside 127.0.0.1:${outside}`,
    });
    t.match(await ask(open.outboundPort, { headers: { host: `127.0.0.1:${open.outboundPort}` } }), {
      status: 508,
      headers: { "x-remora-reason": "loop_detected" },
    });
    const closed = await mesh.inFrontOf((_request, response) => response.end(), { egress: "deny" });
    t.match(await ask(closed.outboundPort, { headers: { host: `127.0.0.1:${outside}` } }), {
      status: 403,
      headers: { "x-remora-reason": "egress_refused" },
    });
  });

  test("a peer outside of the mesh is not told the reason of a refusal", async (t, mesh) => {
    const pair = await mesh.inFrontOf((_request, response) => response.setHeader("x-remora-reason", "forged").end("ok"), {
      mode: "permissive",
      rateLimit: "1/m",
    });
    const client = mesh.connect(pair.inboundPort);
    client.send(GET);
    t.notMatch(await client.until(/ok$/), /x-remora-/i);
    client.send(GET);
    t.match(await client.until(/ 429 [^]*\r\n\r\n/), / 429 /);
    t.notMatch(client.text(), /x-remora-/i);
  });
}
