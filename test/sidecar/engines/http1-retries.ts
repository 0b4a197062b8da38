// What is sent again, seen through an engine, for HTTP/1.1: requests without a body, which need not be kept. The compat engine, whose http-proxy can't take
// an answer back, only goes around instances that can't be connected to.
import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { EngineName } from "../../../sidecar/engine.ts";
import { ask, http1Tests } from "../../support/http1-fixture.ts";
import type { MeshPair } from "../../support/mesh-pair.ts";

const IDEMPOTENT = { routes: "service=orders path=/safe/ retry=idempotent", instances: 2 };

async function retriesOf(pair: MeshPair): Promise<string[]> {
  const text = await pair.callerMetrics.registry.metrics();
  return text.split("\n").filter((line) => /^remora_retries_(?:refused_)?total\{/.test(line));
}

/** Registers the tests for one engine. */
export function http1Retries(engine: EngineName): void {
  const test = http1Tests(engine);

  test("what was declared idempotent and failed is sent again; the rest is answered as it was", async (t, mesh) => {
    let seen = 0;
    const pair = await mesh.inFrontOf((request, response) => {
      seen += 1;
      request.resume();
      const isFailure = request.url?.endsWith("never") === true || seen % 2 === 1;
      response.writeHead(isFailure ? 503 : 200, { "x-seen": String(seen) }).end(isFailure ? "an error page" : "well");
    }, IDEMPOTENT);
    t.match(await ask(pair.outboundPort, { path: "/safe/x" }), { status: 200, body: "well", headers: { "x-seen": "2" } });
    t.match(await ask(pair.outboundPort, { path: "/x" }), { status: 503, body: "an error page", headers: { "x-seen": "3" } });
    t.match(await ask(pair.outboundPort, { path: "/safe/never" }), { status: 503, headers: { "x-seen": "6" } }, "three attempts");
    t.match(
      await ask(pair.outboundPort, { path: "/safe/x", method: "POST", body: "x" }),
      { status: 503 },
      "a body is gone once it was sent",
    );
    t.strictSame(await retriesOf(pair), ['remora_retries_total{reason="failed_answer"} 3']);
    t.match(
      pair.callerLedger.finished.map(({ status }) => status),
      [200, 503, 503, 503],
    );
  });

  test("one client after the other on the same connection: no answer is taken for another's", async (t, mesh) => {
    let seen = 0;
    const pair = await mesh.inFrontOf((request, response) => {
      seen += 1;
      if (seen % 3 === 0) response.writeHead(503).end("x".repeat(100_000));
      else response.end(`answer to ${request.url}.`);
    }, IDEMPOTENT);
    const client = mesh.connect(pair.outboundPort);
    for (let index = 0; index < 30; index += 1) client.send(`GET /safe/${index} HTTP/1.1\r\nHost: orders\r\n\r\n`);
    const text = await client.until(/answer to \/safe\/29\.$/);
    t.strictSame(
      [...text.matchAll(/answer to \/safe\/(\d+)\./g)].map(([, number]) => Number(number)),
      Array.from({ length: 30 }, (_, index) => index),
    );
  });

  test("a refusal of the other sidecar is tried elsewhere, by any route, and told when nobody is left", async (t, mesh) => {
    const closed = createServer().listen(0);
    await once(closed, "listening");
    const nobody = (closed.address() as AddressInfo).port;
    await new Promise((resolve) => closed.close(resolve));
    const pair = await mesh.pairFor(nobody, { instances: 2 });
    t.match(await ask(pair.outboundPort), { status: 502, headers: { "x-remora-reason": "connect_failed" } });
    t.strictSame(await retriesOf(pair), ['remora_retries_total{reason="connect_failed"} 2']);
    t.equal(pair.calleeLedger.finished.length, 3);
    const alone = await mesh.pairFor(nobody);
    t.match(await ask(alone.outboundPort), { status: 502, headers: { "x-remora-reason": "connect_failed" } });
    t.strictSame(await retriesOf(alone), [], "who has just refused is not asked again at once");
  });

  test("the budget bounds it, and says so", async (t, mesh) => {
    let seen = 0;
    const pair = await mesh.inFrontOf(
      (_request, response) => {
        seen += 1;
        response.writeHead(503).end();
      },
      { ...IDEMPOTENT, retryBudget: { ratio: 0.2, minPerSecond: 0 } },
    );
    for (let index = 0; index < 50; index += 1) t.match(await ask(pair.outboundPort, { path: "/safe/" }), { status: 503 });
    t.equal(seen, 60);
    t.match(await retriesOf(pair), [
      /remora_retries_total\{reason="failed_answer"\} 10/,
      /remora_retries_refused_total\{reason="failed_answer"\} [1-9]/,
    ]);
  });
}
