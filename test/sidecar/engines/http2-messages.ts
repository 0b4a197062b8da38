// HTTP/2 as well-behaved peers speak it, through both hops.

import { execFile } from "node:child_process";
import { once } from "node:events";
import { constants, type IncomingHttpHeaders } from "node:http2";
import { promisify } from "node:util";
import { requires } from "../../support/requires.ts";
import type { EngineName } from "../../../sidecar/engine.ts";
import { finish, h2Frame, http2Tests } from "../../support/http2-fixture.ts";

/** Registers the tests for one engine. */
export function http2Messages(engine: EngineName): void {
  const test = http2Tests(engine);

  test("requests and answers keep fields, repeated ones too, and trailers both ways", async (t, mesh) => {
    let seen: IncomingHttpHeaders = {};
    const { client } = await mesh.inFrontOf((stream, headers) => {
      seen = headers;
      stream.additionalHeaders({ ":status": 103, link: "</style.css>" });
      stream.respond({ ":status": 201, "set-cookie": ["a=1", "b=2"], "x-remora-reason": "forged" }, { waitForTrailers: true });
      stream.once("wantTrailers", () => stream.sendTrailers({ "x-sum": "7" }));
      stream.end("done");
    });
    const answer = await finish(
      client.request({ ":path": "/a?b", ":authority": "orders", cookie: ["x=1", "y=2"], "x-remora-src": "forged" }),
    );
    t.match(answer, { body: "done", trailers: { "x-sum": "7" }, headers: { ":status": 201, "set-cookie": ["a=1", "b=2"] } });
    t.equal(answer.headers["x-remora-reason"], undefined);
    t.match(answer.informational, [{ ":status": 103, link: "</style.css>" }]);
    t.match(seen, {
      ":path": "/a?b",
      ":authority": "orders",
      cookie: "x=1; y=2",
      "x-remora-client-id": "spiffe://cluster.local/ns/demo/sa/web",
    });
    t.equal(seen["x-remora-src"], undefined);
  });

  test("bodies stream both ways under flow control; HEAD and empty answers end at once", async (t, mesh) => {
    const { client } = await mesh.inFrontOf((stream, headers) => {
      if (headers[":method"] === "HEAD") return stream.respond({ ":status": 200, "content-length": "5" }, { endStream: true });
      if (headers[":path"] === "/empty") return stream.respond({ ":status": 204 }, { endStream: true });
      stream.respond({ ":status": 200 });
      stream.pipe(stream);
    });
    t.match(await finish(client.request({ ":method": "HEAD", ":authority": "orders" })), {
      headers: { ":status": 200, "content-length": "5" },
      body: "",
    });
    t.match(await finish(client.request({ ":path": "/empty", ":authority": "orders" })), { headers: { ":status": 204 }, body: "" });
    const upload = client.request({ ":method": "POST", ":authority": "orders" });
    const chunk = Buffer.alloc(256 * 1024, "z");
    (async () => {
      for (let index = 0; index < 32; index++) if (!upload.write(chunk)) await once(upload, "drain");
      upload.end();
    })();
    t.equal((await finish(upload)).body.length, 8 * 1024 * 1024);
  });

  test("a reset of either side reaches the other with its code", async (t, mesh) => {
    let appCode: Promise<number> | null = null;
    const { client } = await mesh.inFrontOf((stream, headers) => {
      if (headers[":path"] === "/reset") {
        // With `waitForTrailers`, as node:http2 otherwise ends the stream in order before it resets it.
        stream.respond({ ":status": 200 }, { waitForTrailers: true });
        stream.write("begin");
        setTimeout(() => stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM), 50);
      } else {
        appCode = new Promise((resolve) => stream.once("close", () => resolve(stream.rstCode ?? -1)));
        stream.respond({ ":status": 200 });
        stream.write("begin");
      }
    });
    t.equal((await finish(client.request({ ":path": "/reset", ":authority": "orders" }))).code, constants.NGHTTP2_ENHANCE_YOUR_CALM);
    const left = client.request({ ":path": "/left", ":authority": "orders" });
    left.on("error", () => {});
    await once(left, "data");
    left.close(constants.NGHTTP2_CANCEL);
    t.equal(await appCode, constants.NGHTTP2_CANCEL);
  });

  test("refusals are plain answers for plain HTTP/2", async (t, mesh) => {
    const { client } = await mesh.inFrontOf((stream) => stream.respond({ ":status": 200 }, { endStream: true }), { rateLimit: "1/m" });
    t.match(await finish(client.request({ ":authority": "orders" })), { headers: { ":status": 200 } });
    t.match(await finish(client.request({ ":authority": "orders" })), {
      headers: { ":status": 429, "x-remora-reason": "rate_limited" },
      body: "rate limit exceeded\n",
    });
    t.match(await finish(client.request({ ":authority": "orders:99999" })), { headers: { ":status": 400 } });
  });

  test("an answer that node:http2 reads but will not send passes as it came, or is a 502; never the end of the sidecar", async (t, mesh) => {
    const text = (value: string) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
    // :status 200 (indexed), then content-type twice (literal without indexing, name 31 of the static table).
    const twice = Buffer.concat([Buffer.from([0x88, 0x0f, 0x10]), text("text/plain"), Buffer.from([0x0f, 0x10]), text("text/html")]);
    const appPort = await mesh.rawApp((socket) => {
      socket.write(h2Frame(4, 0, 0, Buffer.alloc(0)));
      let read = Buffer.alloc(0);
      socket.on("data", (chunk: Buffer) => {
        read = Buffer.concat([read, chunk]);
        for (let at = 24; at + 9 <= read.length; at += 9 + read.readUIntBE(at, 3)) {
          if (read[at + 3] === 1) socket.write(h2Frame(1, 5, read.readUInt32BE(at + 5), twice));
        }
      });
    });
    const { client } = await mesh.withClient(appPort);
    const answer = await finish(client.request({ ":authority": "orders" }));
    if (engine === "compat") t.match(answer, { headers: { ":status": 502, "x-remora-reason": "upstream_reset" } });
    else t.match(answer, { headers: { ":status": 200, "content-type": "text/plain" } });
  });

  test(
    "nghttp, another implementation, gets the same answer",
    async (t, mesh) => {
      const { pair } = await mesh.inFrontOf((stream) => {
        stream.respond({ ":status": 200 });
        stream.end("for nghttp");
      });
      const { stdout } = await promisify(execFile)(
        "nghttp",
        ["-H", ":authority: orders", "-m", "20", `http://127.0.0.1:${pair.outboundPort}/`],
        { timeout: 10_000 },
      );
      t.equal(stdout, "for nghttp".repeat(20));
    },
    { skip: requires("nghttp") },
  );
}
