import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import t, { type Test } from "tap";
import { runConstantRate } from "../../bench/load/constant-rate.ts";

async function serve(t: Test, listener: RequestListener): Promise<{ readonly server: Server; readonly url: string }> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/path` };
}

t.test("every request that is due is sent and counted", async (t) => {
  let seen = 0;
  const hosts = new Set<string | undefined>();
  const { url } = await serve(t, (request, response) => {
    seen += 1;
    hosts.add(request.headers.host);
    response.end("x".repeat(1_024));
  });
  const result = await runConstantRate({ url, host: "orders", connections: 4, perSecond: 200, durationS: 1 });
  t.equal(result.requests, 200);
  t.equal(result.failed, 0);
  t.equal(seen, 204, "the first of each connection is not counted");
  t.same([...hosts], ["orders"]);
  t.ok(result.p50Ms > 0 && result.p50Ms <= result.p90Ms && result.p90Ms <= result.p99Ms && result.p99Ms <= result.p999Ms);
});

t.test("a request that had to wait for a slow answer counts with its wait", async (t) => {
  const stallMs = 400;
  let seen = 0;
  const { url } = await serve(t, (_request, response) => {
    seen += 1;
    // One answer is slow, on the only connection: a generator that only times what it sends would see one slow request.
    if (seen === 20) setTimeout(() => response.end("late"), stallMs);
    else response.end("now");
  });
  const result = await runConstantRate({ url, host: null, connections: 1, perSecond: 100, durationS: 1 });
  t.equal(result.requests, 100);
  t.ok(result.p90Ms > stallMs / 2, `40 requests were due during the stall: p90 is ${result.p90Ms} ms`);
});

t.test("answers other than 2xx and connections that end are failures", async (t) => {
  let seen = 0;
  const { url } = await serve(t, (request, response) => {
    seen += 1;
    if (seen > 52) request.socket.destroy();
    else if (seen > 22) response.writeHead(503).end();
    else response.end();
  });
  const result = await runConstantRate({ url, host: null, connections: 2, perSecond: 100, durationS: 1 });
  t.equal(result.requests, 20);
  t.equal(result.failed, 80);
});

t.test("a target that does not serve is an error", async (t) => {
  const { url } = await serve(t, (_request, response) => void response.writeHead(502).end());
  await t.rejects(runConstantRate({ url, host: null, connections: 1, perSecond: 10, durationS: 1 }), /not 2xx/);
  await t.rejects(runConstantRate({ url: "http://127.0.0.1:1/", host: null, connections: 1, perSecond: 10, durationS: 1 }), /ECONNREFUSED/);
});
