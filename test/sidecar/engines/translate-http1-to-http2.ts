// What the tests of HTTP/1.1 in front of a port that speaks HTTP/2 stand on: apps by node:http2 and by single frames. The compat engine does not translate.
import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream, type Settings } from "node:http2";
import type { Socket } from "node:net";
import t, { type Test } from "tap";
import { h2Frame } from "../../support/http2-fixture.ts";
import { MeshFixture } from "../../support/mesh-fixture.ts";
import type { MeshPair, MeshPairOptions } from "../../support/mesh-pair.ts";

/** An app by node:http2. */
export type StreamApp = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flat: readonly string[]) => void;

/** A frame as it came (RFC 9113 section 4.1). */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export const FRAME = { data: 0, headers: 1, reset: 3, settings: 4, goaway: 7, windowUpdate: 8 } as const;
export const END_STREAM = 1;

/** A mesh in front of apps that speak HTTP/2. */
export class TranslatingMesh extends MeshFixture {
  /** Connections that an app by node:http2 has accepted. */
  accepted = 0;

  constructor(t: Test) {
    super(t, "splice");
  }

  /** A pair in front of an app by node:http2. */
  async inFrontOf(app: StreamApp, options: Partial<MeshPairOptions> = {}, settings: Settings = {}): Promise<MeshPair> {
    const server = createServer({ settings });
    server.on("session", (session) => {
      this.accepted += 1;
      session.on("error", () => {});
    });
    server.on("stream", (stream, headers, _flags, flat) => {
      stream.on("error", () => {});
      app(stream as ServerHttp2Stream, headers, flat as unknown as readonly string[]);
    });
    return this.pairFor(await this.listen(server), { protocol: "http2", ...options });
  }

  /** A pair in front of an app that answers frames with bytes; its SETTINGS are sent already. */
  async inFrontOfFrames(
    onFrame: (frame: Frame, socket: Socket, index: number) => void,
    options: Partial<MeshPairOptions> = {},
  ): Promise<MeshPair> {
    const appPort = await this.rawApp((socket, index) => {
      socket.write(h2Frame(FRAME.settings, 0, 0, Buffer.alloc(0)));
      socket.on("end", () => socket.end());
      readFrames(socket, (frame) => onFrame(frame, socket, index));
    });
    return this.pairFor(appPort, { protocol: "http2", ...options });
  }
}

/** Calls back for each frame behind the preface. */
function readFrames(socket: Socket, onFrame: (frame: Frame) => void): void {
  let bytes: Buffer = Buffer.alloc(0);
  let isPrefaced = false;
  socket.on("data", (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
    if (!isPrefaced) {
      if (bytes.length < 24) return;
      bytes = bytes.subarray(24);
      isPrefaced = true;
    }
    while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
      const end = 9 + bytes.readUIntBE(0, 3);
      onFrame({ type: bytes[3] as number, flags: bytes[4] as number, stream: bytes.readUInt32BE(5), payload: bytes.subarray(9, end) });
      bytes = bytes.subarray(end);
    }
  });
}

/** RST_STREAM. */
export function resetFrame(stream: number, code: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(code);
  return h2Frame(FRAME.reset, 0, stream, payload);
}

/** GOAWAY. */
export function goawayFrame(lastStream: number, code: number): Buffer {
  const payload = Buffer.alloc(8);
  payload.writeUInt32BE(lastStream);
  payload.writeUInt32BE(code, 4);
  return h2Frame(FRAME.goaway, 0, 0, payload);
}

/** Registers a test, which fails too when it leaves a request, a stream or a connection behind. */
export function test(
  name: string,
  run: (t: Test, mesh: TranslatingMesh) => Promise<void>,
  options: { readonly skip?: string | false } = {},
): void {
  t.test(`splice: ${name}`, options, async (t) => {
    const mesh = new TranslatingMesh(t);
    await run(t, mesh);
    await mesh.leavesNothing();
  });
}

/** Reads what a client sends, whole. */
export async function bodyOf(stream: ServerHttp2Stream): Promise<string> {
  let body = "";
  for await (const chunk of stream) body += chunk;
  return body;
}
