// What is sent again, seen through an engine: gRPC and HTTP/2 with bodies, by routes that declare it harmless, within attempts and budget.
import { once } from "node:events";
import { constants, createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import type { EngineName } from "../../../sidecar/engine.ts";
import { ask, finish, GRPC, type Http2Mesh, http2Tests, type Meshed, pause, type StreamHandler } from "../../support/http2-fixture.ts";
import { MeshFleet } from "../../support/mesh-fleet.ts";
import type { MeshPair, MeshPairOptions } from "../../support/mesh-pair.ts";

const IDEMPOTENT = { routes: "service=orders path=/shop.Orders/ retry=idempotent", instances: 2 };
/** Answered by every app, and not counted. */
const WARM = "/warm";
const GET = { ...GRPC, ":path": "/shop.Orders/Get" };

/** Ends a call without an answer: a trailers-only one. */
function fail(stream: ServerHttp2Stream, fields: Readonly<Record<string, string>> = {}): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": "14", ...fields }, { endStream: true });
}

function succeed(stream: ServerHttp2Stream, body: string): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(body);
}

/** An app that reads each request whole and does with it what `steps` say, the last of them for all that follow. */
function appOf(...steps: readonly ((stream: ServerHttp2Stream, body: string) => void)[]) {
  const seen: { readonly body: string; readonly headers: IncomingHttpHeaders; readonly atMonoMs: number }[] = [];
  const handler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    if (headers[":path"] === WARM) return stream.respond({ ":status": 200 }, { endStream: true });
    let body = "";
    stream.on("data", (chunk) => {
      body += chunk;
    });
    stream.once("end", () => {
      seen.push({ body, headers, atMonoMs: performance.now() });
      if (!stream.destroyed) steps[Math.min(seen.length, steps.length) - 1]?.(stream, body);
    });
  };
  return { seen, handler };
}

/** A pair in front of an app, whose connections are up: a unary body is held for a moment, and must come within it. */
async function front(mesh: Http2Mesh, handler: StreamHandler, options: Partial<MeshPairOptions> = {}): Promise<Meshed> {
  const meshed = await mesh.inFrontOf(handler, options);
  for (let index = 0; index < 4; index += 1) await finish(ask(meshed.client, { ":path": WARM }));
  return meshed;
}

/** An app whose connections outlive the test as the fleet's do: both end with their teardown. Gives its port. */
async function listening(t: { teardown(run: () => unknown): void }, handler: StreamHandler): Promise<number> {
  const server = createServer().on("stream", handler).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function counted(pair: MeshPair, name: string): Promise<string[]> {
  const text = await pair.callerMetrics.registry.metrics();
  return text.split("\n").filter((line) => line.startsWith(`${name}{`));
}

/** Registers the tests for one engine. */
export function grpcRetries(engine: EngineName): void {
  const test = http2Tests(engine);
  // compat holds a body for 2 ms, which a busy machine may miss: its calls have none.
  const bodyOf = (text: string) => (engine === "compat" ? undefined : text);

  test("a call that was declared idempotent and failed is sent again, with all of its body", async (t, mesh) => {
    const { seen, handler } = appOf((stream) => fail(stream), succeed);
    const { client, pair } = await front(mesh, handler, IDEMPOTENT);
    const answer = await finish(ask(client, GET, bodyOf("the message")));
    t.match(answer, { status: 200, body: bodyOf("the message") ?? "", trailers: { "grpc-status": "0" } });
    t.strictSame(
      seen.map(({ body }) => body),
      [bodyOf("the message") ?? "", bodyOf("the message") ?? ""],
    );
    t.not(seen[0]?.headers["x-request-id"], undefined);
    t.equal(seen[0]?.headers["x-request-id"], seen[1]?.headers["x-request-id"]);
    t.strictSame(await counted(pair, "remora_retries_total"), ['remora_retries_total{reason="failed_answer"} 1']);
    t.match(pair.callerLedger.finished.at(-1), { status: 200, grpcStatus: 0, refusal: null });
  });

  test("any other call is answered as it was: nothing is hidden", async (t, mesh) => {
    const { seen, handler } = appOf((stream) => fail(stream, { "grpc-message": "later" }));
    const { client, pair } = await front(mesh, handler, IDEMPOTENT);
    const answer = await finish(ask(client, { ...GRPC, ":path": "/shop.Pay/Pay" }, "x"));
    t.match(answer.headers, { "grpc-status": "14", "grpc-message": "later" });
    t.equal(seen.length, 1);
    t.match(pair.callerLedger.finished.at(-1), { grpcStatus: 14 });
  });

  test("an answer that has begun, and a failure that another try would not mend, are passed on", async (t, mesh) => {
    const begun = appOf((stream) => {
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": "14" }));
      stream.end("half");
    });
    const first = await front(mesh, begun.handler, IDEMPOTENT);
    t.match(await finish(ask(first.client, GET, "x")), { body: "half", trailers: { "grpc-status": "14" } });
    const invalid = appOf((stream) => fail(stream, { "grpc-status": "3" }));
    const second = await front(mesh, invalid.handler, IDEMPOTENT);
    t.match((await finish(ask(second.client, GET, "x"))).headers, { "grpc-status": "3" });
    t.strictSame([begun.seen.length, invalid.seen.length], [1, 1]);
  });

  test("pushback: a wait is waited, a negative or unreadable one means no, one beyond the deadline too", async (t, mesh) => {
    const waiting = appOf((stream) => fail(stream, { "grpc-retry-pushback-ms": "300" }), succeed);
    const patient = await front(mesh, waiting.handler, IDEMPOTENT);
    t.match(await finish(ask(patient.client, { ...GET, "grpc-timeout": "5S" }, bodyOf("x"))), {
      body: bodyOf("x") ?? "",
      trailers: { "grpc-status": "0" },
    });
    const [early, late] = waiting.seen.map(({ atMonoMs }) => atMonoMs) as [number, number];
    t.ok(late - early >= 290, `after ${Math.round(late - early)} ms`);
    t.match(waiting.seen[1]?.headers["grpc-timeout"], /^[1-4]\d{3}m$/, "the second attempt has what is left of the time");
    for (const value of ["-1", "soon", "60000"]) {
      const app = appOf((stream) => fail(stream, { "grpc-retry-pushback-ms": value }), succeed);
      const { client } = await front(mesh, app.handler, IDEMPOTENT);
      t.match((await finish(ask(client, GET, bodyOf("x")))).headers, { "grpc-status": "14", "grpc-retry-pushback-ms": value });
      t.equal(app.seen.length, 1, value);
    }
    const short = appOf((stream) => fail(stream, { "grpc-retry-pushback-ms": "5000" }), succeed);
    const hurried = await front(mesh, short.handler, IDEMPOTENT);
    t.match((await finish(ask(hurried.client, { ...GET, "grpc-timeout": "2S" }, "x"))).headers, { "grpc-status": "14" });
    t.equal(short.seen.length, 1);
  });

  test("a client that leaves during the wait takes its request with it; so does a deadline", async (t, mesh) => {
    const { seen, handler } = appOf((stream) => fail(stream, { "grpc-retry-pushback-ms": "600" }));
    const { client, pair } = await front(mesh, handler, IDEMPOTENT);
    const leaving = ask(client, GET, bodyOf("x"));
    await pause(300);
    leaving.close(constants.NGHTTP2_CANCEL);
    await pause(700);
    t.equal(seen.length, 1);
    t.equal(pair.callerLedger.finished.filter(({ path }) => path !== WARM).length, 1);
  });

  test("attempts are bounded, and the last answer is told", async (t, mesh) => {
    for (const attempts of [1, 2, 5]) {
      const { seen, handler } = appOf((stream) => fail(stream, { "grpc-message": `${seen.length}` }));
      const { client } = await front(mesh, handler, { routes: `retry=idempotent attempts=${attempts}`, instances: 2 });
      t.match((await finish(ask(client, GET, bodyOf("x")))).headers, { "grpc-status": "14", "grpc-message": String(attempts) });
      t.equal(seen.length, attempts);
    }
  });

  test("the budget: a destination that fails altogether gets a fifth more requests, and what it refused is counted", async (t, mesh) => {
    const { seen, handler } = appOf((stream) => fail(stream));
    const { client, pair } = await front(mesh, handler, { ...IDEMPOTENT, retryBudget: { ratio: 0.2, minPerSecond: 0 } });
    for (let index = 0; index < 50; index += 1) t.match((await finish(ask(client, GET, bodyOf("x")))).headers, { "grpc-status": "14" });
    t.ok(seen.length >= 60 && seen.length <= 61, `${seen.length} for 50, and 4 before them`);
    const refused = await counted(pair, "remora_retries_refused_total");
    t.match(refused, [/reason="failed_answer"\} [1-9]/]);
  });

  test("a body that streams is gone once it was sent: it is answered as it was", async (t, mesh) => {
    const { seen, handler } = appOf((stream) => fail(stream), succeed);
    const { client } = await front(mesh, handler, IDEMPOTENT);
    const streaming = ask(client, GET, null);
    streaming.write("one ");
    await pause(100);
    streaming.end("two");
    t.match((await finish(streaming)).headers, { "grpc-status": "14" });
    const large = ask(client, GET, Buffer.alloc(100_000));
    t.match(await finish(large), { trailers: { "grpc-status": "0" } });
    t.equal(seen.length, 2, "each once");
  });

  test("HTTP/2 without gRPC: 502, 503 and 504 of what was declared idempotent", async (t, mesh) => {
    for (const status of [502, 503, 504]) {
      const { seen, handler } = appOf(
        (stream) => {
          stream.respond({ ":status": status });
          stream.end("an error page");
        },
        (stream) => {
          stream.respond({ ":status": 200 });
          stream.end("well");
        },
      );
      const { client } = await front(mesh, handler, IDEMPOTENT);
      t.match(await finish(ask(client, { ":path": "/shop.Orders/x" })), { status: 200, body: "well" });
      t.equal(seen.length, 2);
    }
    const { seen, handler } = appOf((stream) => stream.respond({ ":status": 500 }, { endStream: true }));
    const { client } = await front(mesh, handler, IDEMPOTENT);
    t.match(await finish(ask(client, { ":path": "/shop.Orders/x" })), { status: 500 });
    t.equal(seen.length, 1);
  });

  test("a stream that the app refuses unseen is sent again, by any route; an app that refuses all is told of", async (t, mesh) => {
    const refuse = (stream: ServerHttp2Stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM);
    const { seen, handler } = appOf(refuse, succeed);
    const { client } = await front(mesh, handler);
    t.match(await finish(ask(client, GRPC, bodyOf("x"))), { body: bodyOf("x") ?? "", trailers: { "grpc-status": "0" } });
    t.equal(seen.length, 2);
    const never = appOf(refuse);
    const stubborn = await front(mesh, never.handler);
    t.match((await finish(ask(stubborn.client, GRPC, bodyOf("x")))).headers, { "grpc-status": "14", "x-remora-reason": "connect_failed" });
    t.equal(never.seen.length, 3);
  });

  test("what the app of one instance refuses unseen, however often, another is asked for", async (t, mesh) => {
    const refusing = appOf((stream) => stream.on("error", () => {}).close(constants.NGHTTP2_REFUSED_STREAM));
    const serving = appOf(succeed);
    const fleet = await MeshFleet.start(t, { engine });
    for (const { handler } of [refusing, serving]) await fleet.add(await listening(t, handler));
    const client = mesh.connectHttp2(fleet.caller.port);
    for (let index = 0; index < 6; index += 1) t.match((await finish(ask(client, GET))).trailers, { "grpc-status": "0" });
    t.ok(refusing.seen.length > 0, "it was asked");
    t.equal(serving.seen.length, 6);
  });
}
