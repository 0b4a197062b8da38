// Deadlines seen through an engine: `grpc-timeout` and the bounds of routes, for HTTP/2 and gRPC.
import type { ServerHttp2Stream } from "node:http2";
import type { EngineName } from "../../../sidecar/engine.ts";
import { ask, finish, GRPC, http2Tests, pause } from "../../support/http2-fixture.ts";
import { eventually } from "../../support/raw-peers.ts";

/** An app that reads and says nothing. */
/** Far later than the deadlines here, on a busy machine too, and sooner than anything else that would end a call. */
const LATE_MS = 10_000;
const SILENT = (stream: ServerHttp2Stream) => void stream.resume();

/** Registers the tests for one engine. */
export function grpcDeadlines(engine: EngineName): void {
  const test = http2Tests(engine);

  test("an app that never answers: DEADLINE_EXCEEDED, trailers-only, and the app hears of it", async (t, mesh) => {
    let isCancelled = false;
    const { client, pair } = await mesh.inFrontOf((stream, headers) => {
      stream.resume();
      if (headers[":path"] === "/prompt") return void stream.respond({ ":status": 200 }, { endStream: true });
      stream.once("close", () => {
        isCancelled = true;
      });
    });
    await finish(ask(client, { ":path": "/prompt" })); // all connections are there, so that a slow machine's second is spent at the app
    const startedMonoMs = performance.now();
    const answer = await finish(ask(client, { ...GRPC, "grpc-timeout": "1000m" }, "body"));
    const tookMs = performance.now() - startedMonoMs;
    t.match(answer, {
      status: 200,
      body: "",
      headers: { "content-type": "application/grpc", "grpc-status": "4", "x-remora-reason": "timeout" },
    });
    t.ok(tookMs >= 990 && tookMs < LATE_MS, `after ${Math.round(tookMs)} ms`);
    t.ok(await eventually(() => isCancelled), "the app's stream is over");
    t.match(
      await finish(ask(client, { ...GRPC, "grpc-timeout": "200m" }, null)),
      { headers: { "grpc-status": "4" } },
      "also while the request is still being sent",
    );
    t.ok(await eventually(() => pair.callerLedger.finished.length === 3));
    t.ok(pair.callerLedger.finished.slice(1).every(({ grpcStatus }) => grpcStatus === 4));
  });

  test("without a timeout nothing is cut short, and what is in time passes untouched", async (t, mesh) => {
    const seen: unknown[] = [];
    const { client } = await mesh.inFrontOf((stream, headers) => {
      seen.push(headers["grpc-timeout"]);
      stream.resume();
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      setTimeout(() => stream.end("done"), 250);
    });
    const fields: readonly Record<string, string>[] = [{ ...GRPC }, { ...GRPC, "grpc-timeout": "5S" }, { "grpc-timeout": "1m" }];
    for (const given of fields)
      t.match(await finish(ask(client, given, "x")), { status: 200, body: "done", trailers: { "grpc-status": "0" } });
    t.equal(seen[0], undefined);
    t.match(seen[1], /^(?:5S|4\d{3}m)$/, "at most what was left");
    t.equal(seen[2], "1m", "what is not gRPC may have a field of that name");
  });

  test("a malformed timeout is INTERNAL, one that is over DEADLINE_EXCEEDED; the app sees neither", async (t, mesh) => {
    let seen = 0;
    const { client } = await mesh.inFrontOf((stream) => {
      seen += 1;
      SILENT(stream);
    });
    for (const value of ["soon", "1", "123456789m", "-1S", "1.5S"]) {
      const answer = await finish(ask(client, { ...GRPC, "grpc-timeout": value }, "x"));
      t.match(answer.headers, { "grpc-status": "13", "x-remora-reason": "bad_request" }, value);
    }
    t.match((await finish(ask(client, { ...GRPC, "grpc-timeout": "0m" }, "x"))).headers, { "grpc-status": "4" });
    t.equal(seen, 0);
  });

  test("a route's timeout bounds gRPC and HTTP; the app of gRPC is told", async (t, mesh) => {
    const seen: unknown[] = [];
    const { client } = await mesh.inFrontOf(
      (stream, headers) => {
        seen.push(headers["grpc-timeout"]);
        SILENT(stream);
      },
      { routes: "service=orders path=/slow/ timeout=800ms; service=other timeout=1ms" },
    );
    t.match((await finish(ask(client, { ...GRPC, ":path": "/slow/Get" }, "x"))).headers, {
      "grpc-status": "4",
      "x-remora-reason": "timeout",
    });
    t.match(await finish(ask(client, { ":path": "/slow/x" })), { status: 504, headers: { "x-remora-reason": "timeout" } });
    t.match(seen[0], /^[1-8]\d\dm$/);
    t.equal(seen[1], undefined);
    const free = ask(client, { ":path": "/x" });
    await pause(1_000);
    t.notOk(free.closed, "another path is not bounded");
    free.close();
  });

  test("a time for the answer's head alone; an answer that goes on past its deadline is reset", async (t, mesh) => {
    const { client } = await mesh.inFrontOf(
      (stream, headers) => {
        stream.resume();
        if (headers[":path"] === "/silent") return;
        stream.respond({ ":status": 200 });
        stream.write("begun ");
        if (headers[":path"] === "/long") setTimeout(() => stream.end("and done"), 600);
      },
      { routes: "path=/whole timeout=400ms; answer-timeout=300ms" },
    );
    t.match(await finish(ask(client, { ":path": "/silent" })), { status: 504 });
    t.match(await finish(ask(client, { ":path": "/long" })), { status: 200, body: "begun and done", code: 0 });
    const cut = await finish(ask(client, { ":path": "/whole" }));
    t.match(cut, { status: 200, body: "begun " });
    t.not(cut.code, 0, "what was cut off does not look whole");
  });

  test("an answer in which nothing moves is given up; one that moves slowly is not", async (t, mesh) => {
    const { client } = await mesh.inFrontOf(
      (stream, headers) => {
        stream.resume();
        stream.respond({ ":status": 200 });
        stream.write("begun ");
        if (headers[":path"] === "/dead") return;
        const timer = setInterval(() => stream.write("."), 100);
        setTimeout(() => {
          clearInterval(timer);
          stream.end("done");
        }, 2_500);
      },
      { routes: "idle-timeout=700ms" },
    );
    const slow = finish(ask(client));
    const dead = await finish(ask(client, { ":path": "/dead" }));
    t.not(dead.code, 0);
    t.match(await slow, { code: 0, body: /^begun \.+done$/ });
  });
}
