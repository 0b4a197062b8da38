// What a path becomes between a client and an app, on real ports: through both sidecars, and in plaintext into the app's own.
import { once } from "node:events";
import { createServer as createHttp1Server } from "node:http";
import { connect as connectHttp2, createServer as createHttp2Server } from "node:http2";
import type { AddressInfo, Server } from "node:net";
import t from "tap";
import type { EngineName } from "../../../sidecar/engine.ts";
import { type MeshPair, type MeshPairOptions, startMeshPair } from "../../support/mesh-pair.ts";
import { connectRaw } from "../../support/raw-peers.ts";

type Tap = Parameters<typeof connectRaw>[0];
type Protocol = "http1" | "http2";

/** Spellings of /api/x that have a canonical form: one entry of the rule's table each. */
const SPELLINGS = [
  "/api/x",
  "//api/x",
  "/api//x",
  "/./api/x",
  "/y/../api/x",
  "/../api/x",
  "/%61pi/x",
  "/y/%2e%2e/%61p%69/x",
  "/y/%2E./api/./x",
];
/** Spellings that servlet containers read as /api/x; forwarded as they are. */
const PARAMETERS = ["/api;v=1/x", "/;/api/x", "/api%3Bv/x"];
/** Paths that some app reads as /api/x and another one does not. */
const AMBIGUOUS = [
  ...["/api%2fx", "/y/..%2fapi/x", "/api%5cx", "/api%00/x", "/%c1%a1pi/x", "/%c0%afapi/x", "/%2561pi/x", "/y/%252e%252e/api/x"],
  ...["/y/..;/api/x", "/y/%2e%2e;v/api/x", "/y/..%3b/api/x", "/api/%zz", "/%%36%31pi/x", "/api%0d/x", "/api/x%7f", "/%ff/api/x"],
];
/** Only of use where no engine is in between that repairs them. */
const BACKSLASHES = ["/y\\..\\api\\x", "/api\\x"];

/** Bytes that some engines refuse by themselves. */
const NO_URIS = ["/\u00c0\u00afapi/x", "/api\u007f/x", "/api#/x", "/api/\u00e9"];

interface App {
  readonly port: number;
  /** Targets of the requests it got. */
  readonly seen: string[];
}

async function startApp(t: Tap, protocol: Protocol): Promise<App> {
  const seen: string[] = [];
  const sessions = new Set<{ destroy(): void }>();
  const server: Server =
    protocol === "http1"
      ? createHttp1Server((request, response) => {
          seen.push(request.url ?? "");
          response.end("app");
        })
      : createHttp2Server((request, response) => {
          seen.push(request.url);
          response.end("app");
        });
  server.on("session", (session) => sessions.add(session));
  server.on("connection", (socket) => sessions.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, seen };
}

async function fixture(t: Tap, protocol: Protocol, options: Partial<MeshPairOptions>): Promise<{ app: App; pair: MeshPair }> {
  const app = await startApp(t, protocol);
  const pair = await startMeshPair({ appPort: app.port, mode: "permissive", ...options });
  t.teardown(() => pair.close());
  return { app, pair };
}

interface Ask {
  readonly authority?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly method?: string;
}

/** The status of a request whose target is `path`, byte for byte; 0 when it is not answered. */
async function statusOf(t: Tap, protocol: Protocol, port: number, path: string, ask: Ask = {}): Promise<number> {
  return protocol === "http1" ? askHttp1(t, port, path, ask) : askHttp2(t, port, path, ask);
}

async function askHttp1(t: Tap, port: number, path: string, { authority = "orders", method = "GET" }: Ask): Promise<number> {
  const client = connectRaw(t, port);
  client.send(`${method} ${path} HTTP/1.1\r\nHost: ${authority}\r\nConnection: close\r\n\r\n`);
  await client.ended();
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(client.text())?.[1] ?? 0);
}

async function askHttp2(t: Tap, port: number, path: string, { authority = "orders", method = "GET", headers = {} }: Ask): Promise<number> {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  t.teardown(() => session.destroy());
  session.on("error", () => {});
  const stream = session.request({ ":method": method, ":path": path, ":authority": authority, ...headers });
  stream.on("error", () => {});
  stream.resume();
  stream.end();
  let status = 0; // of a stream that is reset
  stream.once("response", (head) => {
    status = head[":status"] ?? 0;
  });
  await new Promise((resolve) => stream.once("close", resolve));
  session.close();
  return status;
}

for (const engine of ["splice", "compat"] as const satisfies readonly EngineName[]) {
  for (const protocol of ["http1", "http2"] as const) {
    const name = `${engine}, ${protocol}`;

    t.test(`${name}: no spelling dodges a rate limit of a path, and the app gets the form that was matched`, async (t) => {
      const enough = SPELLINGS.length + PARAMETERS.length;
      const { app, pair } = await fixture(t, protocol, { engine, rateLimit: `${enough}/d path=/%61pi/` });
      for (const path of [...SPELLINGS, ...PARAMETERS]) t.equal(await statusOf(t, protocol, pair.outboundPort, path), 200, path);
      t.strictSame(app.seen, [...SPELLINGS.map(() => "/api/x"), ...PARAMETERS], "what was counted is what the app saw");
      app.seen.length = 0;
      for (const port of [pair.outboundPort, pair.inboundPort]) {
        const side = port === pair.inboundPort ? "in plaintext" : "through the mesh";
        for (const path of [...SPELLINGS, ...PARAMETERS]) t.equal(await statusOf(t, protocol, port, path), 429, `${path} ${side}`);
        for (const path of AMBIGUOUS) t.equal(await statusOf(t, protocol, port, path), 400, `${path} ${side}`);
        t.equal(await statusOf(t, protocol, port, "/other/../y?/../api/%2f"), 200, `another path ${side}`);
      }
      for (const path of BACKSLASHES) t.equal(await statusOf(t, protocol, pair.inboundPort, path), 400, `${path} in plaintext`);
      for (const path of NO_URIS) t.notOk([200, 429].includes(await statusOf(t, protocol, pair.inboundPort, path)), `${path} in plaintext`);
      t.strictSame(app.seen, ["/y?/../api/%2f", "/y?/../api/%2f"], "nothing else got through");
      const reasons = new Set(pair.calleeLedger.finished.map(({ refusal }) => refusal?.reason ?? "none"));
      t.strictSame([...reasons].sort(), ["bad_request", "none", "rate_limited"], "no other reason");
    });

    t.test(`${name}: without a rule for paths what is ambiguous arrives as it was sent, and a shadow rule refuses nothing`, async (t) => {
      const { app, pair } = await fixture(t, protocol, { engine, rateLimit: "1000/s; 1/d path=/api/ shadow" });
      for (const path of AMBIGUOUS) t.equal(await statusOf(t, protocol, pair.outboundPort, path), 200, path);
      t.strictSame(app.seen, AMBIGUOUS);
      app.seen.length = 0;
      t.equal(await statusOf(t, protocol, pair.outboundPort, "/a/./b//%7Ec?q=%61//./"), 200);
      t.equal(await statusOf(t, protocol, pair.outboundPort, "*", { method: "OPTIONS" }), 200);
      t.strictSame(app.seen, ["/a/b/~c?q=%61//./", "*"], "what has one reading is canonical in any case");
    });

    t.test(`${name}: a path that leaves the mesh is not touched`, async (t) => {
      const { pair } = await fixture(t, protocol, { engine });
      const outside = await startApp(t, protocol);
      const authority = `127.0.0.1:${outside.port}`;
      const signed = ["/bucket/%61/../b%2Fc/./d?X-Amz-Signature=%2f", "/%7euser/..;/a", "/a%c3%a9/.."];
      for (const path of signed) t.equal(await statusOf(t, protocol, pair.outboundPort, path, { authority }), 200, path);
      t.strictSame(outside.seen, signed);
    });
  }

  t.test(`${engine}: the canonical form is what gRPC signs and verifies`, async (t) => {
    for (const signing of ["hmac", "sign"] as const) {
      const { app, pair } = await fixture(t, "http2", { engine, protocol: "grpc", signing, verify: signing, mode: "strict" });
      const call = { method: "POST", headers: { "content-type": "application/grpc", te: "trailers" } };
      for (const path of ["/test.Echo/Unary", "//test.Echo/./%55nary", "/y/../test.Echo//Unary"]) {
        t.equal(await statusOf(t, "http2", pair.outboundPort, path, call), 200, path);
      }
      t.strictSame(app.seen, ["/test.Echo/Unary", "/test.Echo/Unary", "/test.Echo/Unary"], signing);
    }
  });
}
