// Apps that speak HTTP/2 as no well-behaved one does: they refuse, break off, answer too soon or what may not be sent on.

import { constants } from "node:http2";
import type { Socket } from "node:net";
import { balances } from "../../support/mesh-fixture.ts";
import type { EngineName } from "../../../sidecar/engine.ts";
import { ask, finish, GRPC, h2Frame, h2Head, hasHeadersFrame, http2Tests, pause, type Http2Answer } from "../../support/http2-fixture.ts";

const { NGHTTP2_CANCEL, NGHTTP2_REFUSED_STREAM, NGHTTP2_NO_ERROR } = constants;

/** Registers the tests for one engine. */
export function http2Apps(engine: EngineName): void {
  const test = http2Tests(engine);

  test("an app that answers what may not be sent on is a 502 or a reset, and harms nobody", async (t, mesh) => {
    const heads: Readonly<Record<string, readonly Buffer[]>> = {
      status: [h2Head(1, [":status", "999"], true)],
      "status 99": [h2Head(1, [":status", "099"], true)],
      switching: [h2Head(1, [":status", "101"], false), h2Head(1, [":status", "200"], true)],
      "early hint twice": [h2Head(1, [":status", "103", "etag", "1", "etag", "2"], false), h2Head(1, [":status", "200"], true)],
      double: [h2Head(1, [":status", "200", "etag", "1", "etag", "2"], true)],
      "double in trailers": [h2Head(1, [":status", "200"], false), h2Head(1, ["etag", "1", "etag", "2"], true)],
      "forged in trailers": [h2Head(1, [":status", "200"], false), h2Head(1, ["x-remora-reason", "forged", "x-sum", "1"], true)],
      "pseudo in trailers": [h2Head(1, [":status", "200"], false), h2Head(1, [":status", "200"], true)],
      connection: [h2Head(1, [":status", "200", "connection", "close"], true)],
      "no status": [h2Head(1, ["x-sum", "1"], true)],
      "upper case": [h2Head(1, [":status", "200", "X-Sum", "1"], true)],
      "wrong length": [h2Head(1, [":status", "200", "content-length", "5"], false), h2Frame(0, 1, 1, Buffer.from("way too long"))],
      "unknown stream": [h2Head(7, [":status", "200"], true)],
      goaway: [h2Frame(7, 0, 0, Buffer.from([0, 0, 0, 0, 0, 0, 0, 0]))],
      "goaway with error": [h2Frame(7, 0, 0, Buffer.from([0, 0, 0, 0, 0, 0, 0, 2]))],
    };
    for (const [name, frames] of Object.entries(heads)) {
      const appPort = await mesh.rawApp((socket: Socket) => {
        let answered = false;
        socket.write(h2Frame(4, 0, 0, Buffer.alloc(0)));
        socket.on("data", (chunk: Buffer) => {
          // The first HEADERS frame of each connection is stream 1's.
          if (answered || !hasHeadersFrame(chunk)) return;
          answered = true;
          socket.write(Buffer.concat(frames));
          setTimeout(() => socket.end(), 100);
        });
      });
      const { pair, client } = await mesh.withClient(appPort);
      const stream = ask(client);
      setTimeout(() => stream.destroy(), 3000).unref();
      const answer = await finish(stream);
      t.ok(answer.status > 0 || answer.code !== NGHTTP2_NO_ERROR, `${name}: ${answer.status} ${answer.code}`);
      t.equal(answer.trailers["x-remora-reason"], undefined);
      t.ok(await balances(pair), name);
    }
  });

  test("an app that refuses a stream before it looked at it is asked again, with a fresh signature", async (t, mesh) => {
    let calls = 0;
    const { pair, client } = await mesh.inFrontOf((stream) => {
      calls += 1;
      stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": "0" }, { endStream: true });
    });
    t.equal((await finish(ask(client, GRPC, "one"))).headers["grpc-status"], "0");
    pair.drain("inbound"); // the callee's sidecar sends GOAWAY; what crosses it is refused
    const answers = await Promise.all(Array.from({ length: 20 }, () => finish(ask(client, GRPC, "two"))));
    t.same(
      answers.map(({ headers }) => headers["grpc-status"]),
      Array.from({ length: 20 }, () => "0"),
    );
    t.equal(calls, 21);
  });

  test("an app that refuses every stream is a 502 in the end", async (t, mesh) => {
    let calls = 0;
    const { client } = await mesh.inFrontOf((stream) => {
      calls += 1;
      stream.close(NGHTTP2_REFUSED_STREAM);
    });
    t.equal((await finish(ask(client))).status, 502);
    t.ok(calls >= 1 && calls <= 9, `${calls} attempts`);
  });

  test("50 calls pass through an app that takes one at a time", async (t, mesh) => {
    let open = 0;
    let most = 0;
    const { client } = await mesh.inFrontOf(
      (stream) => {
        open += 1;
        most = Math.max(most, open);
        setTimeout(() => {
          open -= 1;
          stream.respond({ ":status": 200 }, { endStream: true });
        }, 5);
      },
      {},
      { maxConcurrentStreams: 1 },
    );
    const answers = await Promise.all(Array.from({ length: 50 }, () => finish(ask(client))));
    t.ok(
      answers.every(({ status }) => status === 200),
      JSON.stringify(answers.filter(({ status }) => status !== 200).slice(0, 2)),
    );
    t.ok(most <= 100);
  });

  test("an app that breaks its connections off under load: every call ends", async (t, mesh) => {
    const { client, appSessions } = await mesh.inFrontOf((stream) => {
      setTimeout(() => {
        if (!stream.destroyed) stream.respond({ ":status": 200 }, { endStream: true });
      }, 3);
    });
    const answers: Array<Promise<Http2Answer>> = [];
    for (let round = 0; round < 20; round++) {
      for (let index = 0; index < 10; index++) answers.push(finish(ask(client)));
      await pause(5);
      for (const session of appSessions) session.destroy();
    }
    const ended = await Promise.all(answers);
    t.equal(ended.length, 200);
    t.ok(ended.every(({ status }) => status === 200 || status === 502));
    t.equal((await finish(ask(client))).status, 200);
  });

  test("an early answer: the rest of the body neither blocks the stream nor keeps its place", async (t, mesh) => {
    const { client } = await mesh.inFrontOf((stream, headers) => {
      stream.respond({ ":status": 413 });
      stream.end("too large");
      if (headers[":path"] === "/stop") stream.once("finish", () => stream.close(NGHTTP2_NO_ERROR));
    });
    for (const path of ["/stop", "/go"]) {
      const stream = ask(client, { ":path": path }, null);
      const answered = finish(stream);
      for (let index = 0; index < 64 && !stream.destroyed; index++) stream.write(Buffer.alloc(65_536));
      stream.end();
      const answer = await Promise.race([answered, pause(4000)]);
      t.match(answer, { status: 413 }, path);
    }
  });

  test("an app that is no HTTP/2 server, or says nothing, does not hold on to what its client gave up", async (t, mesh) => {
    for (const greeting of ["SSH-2.0-x\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "\x00\x00\x00\x04\x01", ""]) {
      const appPort = await mesh.rawApp((socket) => {
        socket.on("data", () => {});
        if (greeting !== "") socket.end(greeting);
      });
      const { pair, client } = await mesh.withClient(appPort);
      const stream = ask(client);
      const ended = finish(stream);
      if (greeting === "") {
        await pause(100);
        stream.close(NGHTTP2_CANCEL);
      }
      const answer = await ended;
      if (greeting !== "") t.equal(answer.status, 502, JSON.stringify(greeting));
      t.ok(await balances(pair));
    }
  });
}
