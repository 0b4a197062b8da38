// Deadlines seen through an engine, for HTTP/1.1: the bounds of routes.
import type { EngineName } from "../../../sidecar/engine.ts";
import { ask, http1Tests } from "../../support/http1-fixture.ts";
import { eventually } from "../../support/raw-peers.ts";

/** Far later than the deadlines here, on a busy machine too, and sooner than anything else that would end a call. */
const LATE_MS = 10_000;
const request = (path: string, body = "") =>
  `${body === "" ? "GET" : "POST"} ${path} HTTP/1.1\r\nHost: orders\r\n${body === "" ? "" : `Content-Length: ${body.length}\r\n`}\r\n${body}`;

/** Registers the tests for one engine. */
export function http1Deadlines(engine: EngineName): void {
  const test = http1Tests(engine);

  test("an app that never answers: 504, the app hears of it, and the connection goes on", async (t, mesh) => {
    let closed = 0;
    const pair = await mesh.inFrontOf(
      (request, response) => {
        request.resume();
        if (request.url !== "/silent") return void response.end("prompt");
        request.socket.once("close", () => (closed += 1));
      },
      { routes: "service=demo/orders timeout=1s" },
    );
    const client = mesh.connect(pair.outboundPort);
    client.send(request("/prompt")); // all connections are there, so that a slow machine's second is spent at the app
    t.match(await client.until(/prompt$/), / 200 OK/);
    const startedMonoMs = performance.now();
    client.send(request("/silent"));
    t.match(await client.until(/did not answer in time\n$/), / 504 [^]*x-remora-reason: timeout/i);
    const tookMs = performance.now() - startedMonoMs;
    t.ok(tookMs >= 990 && tookMs < LATE_MS, `after ${Math.round(tookMs)} ms`);
    t.ok(await eventually(() => closed === 1), "its connection to the app is over");
    client.send(request("/prompt"));
    t.match(await client.until(/(prompt[^]*){2}$/), / 200 OK/);
    client.send(request("/silent", "with a body"));
    await client.until(/(did not answer in time\n[^]*){2}$/);
    client.send(request("/prompt"));
    await client.until(/(prompt[^]*){3}$/);
    t.match(
      pair.callerLedger.finished.map(({ status }) => status),
      [200, 504, 200, 504, 200],
    );
  });

  test("an answer that goes on past its deadline is cut off; a time for its head alone leaves it be", async (t, mesh) => {
    const pair = await mesh.inFrontOf(
      (request, response) => {
        if (request.url === "/silent") return;
        response.write("begun ");
        if (request.url === "/long") setTimeout(() => response.end("and done"), 600);
      },
      { routes: "path=/whole timeout=400ms; answer-timeout=300ms" },
    );
    t.match(await ask(pair.outboundPort, { path: "/silent" }), { status: 504 });
    t.match(await ask(pair.outboundPort, { path: "/long" }), { status: 200, body: "begun and done" });
    await t.rejects(ask(pair.outboundPort, { path: "/whole" }));
  });

  test("an answer in which nothing moves is given up; one that moves slowly is not", async (t, mesh) => {
    const pair = await mesh.inFrontOf(
      (request, response) => {
        response.write("begun ");
        if (request.url === "/dead") return;
        const timer = setInterval(() => response.write("."), 100);
        setTimeout(() => {
          clearInterval(timer);
          response.end("done");
        }, 2_500);
      },
      { routes: "idle-timeout=700ms" },
    );
    const slow = ask(pair.outboundPort);
    await t.rejects(ask(pair.outboundPort, { path: "/dead" }));
    t.match(await slow, { status: 200, body: /^begun \.+done$/ });
  });

  test("many that are given up and many that are not leave nothing behind", async (t, mesh) => {
    const pair = await mesh.inFrontOf(
      (request, response) => {
        request.resume();
        setTimeout(() => response.end("ok"), Number(new URL(`http://x${request.url}`).searchParams.get("ms")));
      },
      { routes: "timeout=4s" },
    );
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, index) => ask(pair.outboundPort, { path: `/?ms=${index % 2 === 0 ? 0 : 20_000}` })),
    );
    t.strictSame(new Set(answers.map(({ status }, index) => `${index % 2} ${status}`)), new Set(["0 200", "1 504"]));
  });
}
