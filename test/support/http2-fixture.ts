// The fixture of the HTTP/2 tests of the engines: apps and clients by node:http2, and single frames for what it would not send.
import { type ClientHttp2Session, type ClientHttp2Stream, connect, createServer, type IncomingHttpHeaders } from "node:http2";
import type { ServerHttp2Session, ServerHttp2Stream, Settings } from "node:http2";
import t, { type Test } from "tap";
import type { EngineName } from "../../sidecar/engine.ts";
import { MeshFixture } from "./mesh-fixture.ts";
import type { MeshPair, MeshPairOptions } from "./mesh-pair.ts";

/** An app. */
export type StreamHandler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/** A pair in front of an app, and one connection of the caller's app. */
export interface Meshed {
  readonly pair: MeshPair;
  readonly client: ClientHttp2Session;
  readonly appSessions: ReadonlySet<ServerHttp2Session>;
  readonly appPort: number;
}

/** Fields that make a request a gRPC call. */
export const GRPC = { "content-type": "application/grpc", te: "trailers" };

/** A mesh for one test of HTTP/2. */
export class Http2Mesh extends MeshFixture {
  readonly #t: Test;
  readonly #sessions: ClientHttp2Session[] = [];

  constructor(t: Test, engine: EngineName) {
    super(t, engine);
    this.#t = t;
  }

  /** A pair in front of an app by node:http2. */
  async inFrontOf(handler: StreamHandler, options: Partial<MeshPairOptions> = {}, settings: Settings = {}): Promise<Meshed> {
    const app = createServer({ settings });
    const appSessions = new Set<ServerHttp2Session>();
    app.on("session", (session) => {
      appSessions.add(session);
      session.on("error", () => {});
      session.once("close", () => appSessions.delete(session));
    });
    app.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      handler(stream as ServerHttp2Stream, headers);
    });
    const appPort = await this.listen(app);
    const found = await this.withClient(appPort, options);
    this.#t.teardown(() => {
      for (const session of appSessions) session.destroy();
    });
    return { ...found, appSessions, appPort };
  }

  /** A pair in front of the app at `appPort`, and a connection to it. */
  async withClient(
    appPort: number,
    options: Partial<MeshPairOptions> = {},
  ): Promise<{ readonly pair: MeshPair; readonly client: ClientHttp2Session }> {
    const pair = await this.pairFor(appPort, { protocol: "http2", ...options });
    return { pair, client: this.connectHttp2(pair.outboundPort) };
  }

  /** A further connection of the caller's app. */
  connectHttp2(port: number): ClientHttp2Session {
    const client = connect(`http://127.0.0.1:${port}`, { settings: { enablePush: false } });
    client.on("error", () => {});
    this.#sessions.push(client);
    this.#t.teardown(() => client.destroy());
    return client;
  }

  override leavesNothing(): Promise<void> {
    for (const session of this.#sessions) session.destroy();
    return super.leavesNothing();
  }
}

/** Registers a test for one engine, which fails too when it leaves a stream or a connection behind. */
export type Http2Test = (
  name: string,
  run: (t: Test, mesh: Http2Mesh) => Promise<void>,
  options?: { readonly skip?: string | false },
) => void;

/** Makes the `test` of one engine. */
export function http2Tests(engine: EngineName): Http2Test {
  return (name, run, options = {}) => {
    t.test(`${engine}: ${name}`, options, async (t) => {
      const mesh = new Http2Mesh(t, engine);
      await run(t, mesh);
      await mesh.leavesNothing();
    });
  };
}

/** Opens a stream; its errors are swallowed. A `body` of null is still to be written. */
export function ask(
  client: ClientHttp2Session,
  fields: Readonly<Record<string, string | string[]>> = {},
  body?: string | Buffer | null,
): ClientHttp2Stream {
  const hasBody = body !== undefined;
  const stream = client.request(
    { ":authority": "orders", ":method": hasBody ? "POST" : "GET", ...fields },
    { endStream: !hasBody, waitForTrailers: hasBody },
  );
  stream.on("error", () => {});
  // With trailers to come, as node:http2 otherwise ends a stream in order before it resets it.
  stream.once("wantTrailers", () => stream.sendTrailers({}));
  if (hasBody && body !== null) stream.end(body);
  return stream;
}

/** What {@link finish} gives. `status` is 0 without an answer, `code` that of RFC 9113 section 7. */
export interface Http2Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly informational: readonly IncomingHttpHeaders[];
  readonly trailers: IncomingHttpHeaders;
  readonly body: string;
  readonly code: number;
}

/** Reads a stream until it is closed. */
export async function finish(stream: ClientHttp2Stream): Promise<Http2Answer> {
  let headers: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders = {};
  let body = "";
  const informational: IncomingHttpHeaders[] = [];
  stream.on("error", () => {});
  stream.on("headers", (found) => informational.push(found));
  stream.on("response", (found) => {
    headers = found;
  });
  stream.on("trailers", (found) => {
    trailers = found;
  });
  stream.on("data", (chunk) => {
    body += chunk;
  });
  if (!stream.closed || !stream.destroyed) await new Promise((resolve) => stream.once("close", resolve));
  return { status: Number(headers[":status"] ?? 0), headers, informational, trailers, body, code: stream.rstCode ?? 0 };
}

/** Resolves after `ms`. */
export const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** One frame (RFC 9113 section 4.1). */
export function h2Frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A HEADERS frame with literal fields (RFC 7541 section 6.2.2). */
export function h2Head(stream: number, fields: readonly string[], isEnd: boolean): Buffer {
  const parts: Buffer[] = [];
  for (let index = 0; index < fields.length; index += 2) {
    parts.push(Buffer.from([0]));
    for (const text of [fields[index] as string, fields[index + 1] as string]) parts.push(Buffer.from([text.length]), Buffer.from(text));
  }
  return h2Frame(1, isEnd ? 5 : 4, stream, Buffer.concat(parts));
}

/** True when a client's bytes hold a HEADERS frame from its first byte, or preface, on. */
export function hasHeadersFrame(chunk: Buffer): boolean {
  const preface = chunk.indexOf("SM\r\n\r\n");
  for (let offset = preface === -1 ? 0 : preface + 6; offset + 9 <= chunk.length; offset += 9 + chunk.readUIntBE(offset, 3)) {
    if (chunk[offset + 3] === 1) return true;
  }
  return false;
}
