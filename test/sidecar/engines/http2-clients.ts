// Clients that speak HTTP/2 as no well-behaved one does: resets at every moment, forbidden fields, floods.

import { type ClientHttp2Session, type ClientHttp2Stream, constants } from "node:http2";
import { balances } from "../../support/mesh-fixture.ts";
import { eventually } from "../../support/raw-peers.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";
import type { EngineName } from "../../../sidecar/engine.ts";
import { ask, finish, GRPC, http2Tests, pause } from "../../support/http2-fixture.ts";

const { NGHTTP2_CANCEL } = constants;

/** Registers the tests for one engine. */
export function http2Clients(engine: EngineName): void {
  const test = http2Tests(engine);

  test("a stream that is reset while its destination is looked up is finished once and takes no place", async (_t, mesh) => {
    const waiting: Array<() => void> = [];
    const { client } = await mesh.inFrontOf((stream) => stream.respond({ ":status": 200 }, { endStream: true }), {
      lookup: (give) => waiting.push(give),
    });
    const stream = ask(client);
    await eventually(() => waiting.length === 1);
    stream.close(NGHTTP2_CANCEL);
    await pause(50);
    waiting.pop()?.();
    ask(client);
    await eventually(() => waiting.length === 1);
    client.destroy();
    await pause(50);
    waiting.pop()?.();
  });

  test("a body that is cut off while it is held reaches nobody", async (t, mesh) => {
    let seen = 0;
    const { pair, client } = await mesh.inFrontOf(() => {
      seen += 1;
    });
    for (const delayMs of [0, 0, 0, 1, 1, 2]) {
      const stream = ask(client, GRPC, null);
      stream.write("half a message");
      await pause(delayMs);
      stream.close(NGHTTP2_CANCEL);
      await pause(20);
    }
    t.ok(await balances(pair));
    const whole = pair.calleeLedger.finished.filter(({ expectedDigest }) => expectedDigest !== null);
    t.same(whole, [], "nothing was digested and sent on as if it were whole");
    t.same(
      pair.calleeLedger.finished.filter(({ refusal }) => refusal?.reason.startsWith("signature")),
      [],
      "a client that leaves is not a bad signature",
    );
    t.ok(seen <= 6);
  });

  test("a client that sends what may not be sent on is refused, and harms nobody", async (t, mesh) => {
    const { pair, client } = await mesh.inFrontOf((stream) => {
      stream.resume();
      stream.respond({ ":status": 200 }, { endStream: true });
    });
    const raw = client as unknown as { request(fields: string[], options: object): ClientHttp2Stream };
    const head = [":method", "POST", ":scheme", "http", ":authority", "orders", ":path", "/"];
    for (const extra of [
      ["cookie", "a=b", "cookie", "c=d"],
      ["x-remora-client-id", "forged"],
      ["host", "other"],
      ["x-odd", ""],
    ]) {
      const stream = raw.request([...head, ...extra], { endStream: true });
      stream.on("error", () => {});
      const answer = await finish(stream);
      t.ok(answer.status > 0 || answer.code !== 0, `${extra}: ${answer.status} ${answer.code}`);
    }
    const trailing = client.request({ ":authority": "orders", ":method": "POST" }, { waitForTrailers: true, endStream: false });
    trailing.on("error", () => {});
    trailing.once("wantTrailers", () => trailing.sendTrailers({ "x-remora-client-id": "forged", "content-length": "3" }));
    trailing.end("body");
    await finish(trailing);
    t.not(
      (await finish(ask(client, { ":authority": "user:hunter2@orders" }))).status,
      200,
      "userinfo in an authority (RFC 9113 section 8.3.1)",
    );
    t.notMatch(JSON.stringify(pair.callerLedger.finished.map(({ authority, refusal }) => [authority, refusal])), /hunter2/);
    t.equal((await finish(ask(client))).status, 200);
  });

  test("bodies of exactly 64 KiB and one byte more, at once and late, pass signed", async (t, mesh) => {
    const { client } = await mesh.inFrontOf((stream) => {
      let bytes = 0;
      stream.on("data", (chunk) => {
        bytes += chunk.length;
      });
      stream.once("end", () => stream.respond({ ":status": 200, "grpc-status": "0", "x-bytes": String(bytes) }, { endStream: true }));
    });
    for (const size of [0, 1, 65_535, 65_536, 65_537, 200_000]) {
      t.match((await finish(ask(client, GRPC, Buffer.alloc(size)))).headers, { "grpc-status": "0", "x-bytes": String(size) }, `${size}`);
      const late = ask(client, GRPC, null);
      await pause(20);
      late.write(Buffer.alloc(Math.floor(size / 2)));
      await pause(10);
      late.end(Buffer.alloc(Math.ceil(size / 2)));
      t.match((await finish(late)).headers, { "grpc-status": "0", "x-bytes": String(size) }, `${size}, late`);
    }
  });

  test("a first call that is turned away leaves no connection on which later calls fail", async (t, mesh) => {
    const { client } = await mesh.inFrontOf(
      (stream, headers) => {
        if (headers[":path"] === "/wait") return;
        stream.respond({ ":status": 200, "grpc-status": "0" }, { endStream: true });
      },
      { maxInFlight: 1, rateLimit: "1/h path=/limited" },
    );
    t.equal((await finish(ask(client, { ":path": "/limited" }))).status, 200, "uses up the limit, unsigned");
    t.equal(
      (await finish(ask(client, { ...GRPC, ":path": "/limited" }, "one"))).headers["grpc-status"],
      "8",
      "the first signed call is limited",
    );
    t.equal((await finish(ask(client, GRPC, "two"))).headers["grpc-status"], "0", "the next is verified all the same");
  });

  test("header lists too large for a hop are refused; the connection goes on", async (t, mesh) => {
    const { pair, client } = await mesh.inFrontOf((stream) => stream.respond({ ":status": 200 }, { endStream: true }));
    for (const bytes of [30_000, 60_000, 63_500, 64_500, 65_300, 70_000]) {
      const values = Object.fromEntries(
        Array.from({ length: Math.ceil(bytes / 10_000) }, (_, index) => [
          `x-${index}`,
          "v".repeat(Math.min(10_000, bytes - index * 10_000)),
        ]),
      );
      const answer = await finish(ask(client.destroyed ? mesh.connectHttp2(pair.outboundPort) : client, values));
      t.ok(answer.status > 0 || answer.code !== 0, `${bytes}: ${answer.status} ${answer.code}`);
    }
    t.equal((await finish(ask(mesh.connectHttp2(pair.outboundPort)))).status, 200);
  });

  test("2000 mixed requests given up at every moment leave nothing behind", async (t, mesh) => {
    const { below } = createSeededRandom(5);
    const { pair, client } = await mesh.inFrontOf((stream, headers) => {
      const path = headers[":path"];
      if (path === "/never") return void stream.resume();
      if (path === "/reset") return stream.close(NGHTTP2_CANCEL);
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      if (path === "/echo") stream.pipe(stream);
      else stream.end("x".repeat(below(100_000)));
    });
    const clients = [client, mesh.connectHttp2(pair.outboundPort)];
    const paths = ["/never", "/reset", "/echo", "/body"];
    const started: Array<Promise<unknown>> = [];
    for (let index = 0; index < 2000; index++) {
      const session = clients[below(clients.length)] as ClientHttp2Session;
      if (session.destroyed || (index > 0 && index % 500 === 0)) {
        session.destroy();
        clients[clients.indexOf(session)] = mesh.connectHttp2(pair.outboundPort);
        continue;
      }
      const fields = below(2) === 0 ? GRPC : {};
      const stream = ask(
        session,
        { ...fields, ":path": paths[below(4)] as string },
        below(3) === 0 ? undefined : below(2) === 0 ? null : "x".repeat(below(80_000)),
      );
      stream.resume();
      started.push(new Promise((resolve) => stream.once("close", resolve)));
      const wait = below(4);
      if (wait === 0) stream.close(NGHTTP2_CANCEL);
      else setTimeout(() => stream.close(NGHTTP2_CANCEL), below(40));
      if (index % 20 === 0) await pause(4);
    }
    await Promise.all(started);
    t.ok(
      await balances(pair),
      `${pair.callerShed.inFlight} ${pair.calleeShed.inFlight} ${pair.callerLedger.begun - pair.callerLedger.finished.length} ${pair.callerLedger.finishedTwice}`,
    );
    for (const session of clients) session.destroy();
    await pause(100);
    t.match(await pair.callerMetrics.registry.metrics(), /remora_connections\{direction="outbound"\} 0\n/);
    const last = await finish(ask(mesh.connectHttp2(pair.outboundPort), GRPC, "still here"));
    t.equal(last.status, 200, "and it goes on serving");
  });

  test("floods of PING, SETTINGS and half-open heads end their own connection", async (t, mesh) => {
    const { pair, client } = await mesh.inFrontOf((stream) => stream.respond({ ":status": 200 }, { endStream: true }));
    const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "latin1");
    const frames = {
      ping: Buffer.concat([Buffer.from([0, 0, 8, 6, 0, 0, 0, 0, 0]), Buffer.alloc(8)]),
      settings: Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
      continuation: Buffer.from([0, 0, 1, 9, 0, 0, 0, 0, 1, 0x88]),
    };
    for (const [name, frame] of Object.entries(frames)) {
      const socket = mesh.connectMute(pair.outboundPort);
      socket.on("error", () => {});
      socket.write(preface);
      for (let round = 0; round < 20 && !socket.destroyed; round++) {
        socket.write(Buffer.concat(Array.from({ length: 1000 }, () => frame)));
        await pause(1);
      }
      socket.destroy();
      t.equal((await finish(ask(client))).status, 200, `after ${name}`);
    }
  });
}
