// A bulk answer of gRPC as a program: `grpc-bulk.ts OPTIONS-AS-JSON` makes call after call over one HTTP/2 connection, one at a time, counts the bytes
// of the answers, and prints a BulkResult. Only heads of frames are looked at, and the windows are as wide as they can be, so that it holds nobody up.
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { BulkResult } from "./bulk.ts";
import { createFrameReader, FLAG, FRAME, FRAME_HEAD_BYTES } from "./frame-reader.ts";
import { REQUEST_MESSAGE } from "./grpc-messages.ts";

/** What to call. */
export interface GrpcBulkOptions {
  readonly url: string;
  /** `:authority`, or null for the URL's. */
  readonly authority: string | null;
  /** CONNECT this first; null: the port leads there by itself. */
  readonly tunnel: string | null;
  readonly durationS: number;
  /** Of the body of a right answer. */
  readonly answerBytes: number;
}

const READ_BYTES = 262_144;
const OPEN_TIMEOUT_MS = 10_000;
const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTING = { enablePush: 2, initialWindowSize: 4 } as const;
const MAX_WINDOW_BYTES = 2 ** 31 - 1;
const FIRST_WINDOW_BYTES = 65_535;
const SHOWN_CHARACTERS = 100;
const TUNNEL_STANDS = /^HTTP\/1\.1 200 [\s\S]*?\r\n\r\n/;

/** Runs the load to its end. Rejects when the first answer does not come. */
export async function runGrpcBulk(options: GrpcBulkOptions): Promise<BulkResult> {
  const { url, tunnel, durationS, answerBytes } = options;
  const { hostname, port, pathname, host } = new URL(url);
  const head = requestHead(pathname, options.authority ?? host);
  let [bytes, failed, streamId, answered] = [0, 0, -1, 0];

  const call = () => {
    streamId += 2;
    answered = 0;
    socket.write(frame(FRAME.headers, FLAG.endHeaders, streamId, head));
    socket.write(frame(FRAME.data, FLAG.endStream, streamId, REQUEST_MESSAGE));
  };
  const endCall = () => {
    if (answered === 0) return socket.destroy(new Error("a call was answered without a message"));
    if (answered !== answerBytes) failed += 1;
    socket.write(frame(FRAME.windowUpdate, 0, 0, uint32(answered)));
    call();
  };
  const greet = () => {
    socket.write(PREFACE);
    socket.write(
      frame(FRAME.settings, 0, 0, Buffer.concat([setting(SETTING.enablePush, 0), setting(SETTING.initialWindowSize, MAX_WINDOW_BYTES)])),
    );
    socket.write(frame(FRAME.windowUpdate, 0, 0, uint32(MAX_WINDOW_BYTES - FIRST_WINDOW_BYTES)));
    call();
  };
  const read = createFrameReader({
    data(size) {
      bytes += size;
      answered += size;
      flowing.resolve();
    },
    frame(type, flags, ofStream, payload) {
      if (type === FRAME.settings && (flags & FLAG.ack) === 0) socket.write(frame(FRAME.settings, FLAG.ack, 0, Buffer.alloc(0)));
      else if (type === FRAME.ping && (flags & FLAG.ack) === 0) socket.write(frame(FRAME.ping, FLAG.ack, 0, payload));
      else if (type === FRAME.goAway) socket.destroy(new Error("the connection was ended"));
      else if (ofStream === streamId && endsStream(type, flags)) endCall();
    },
  });

  let step: "tunnel" | "flowing" = tunnel === null ? "flowing" : "tunnel";
  const open = (chunk: Buffer) => {
    const text = chunk.toString("latin1");
    const [head] = TUNNEL_STANDS.exec(text) ?? [];
    if (head === undefined) return socket.destroy(new Error(`asked for a tunnel, got ${text.slice(0, SHOWN_CHARACTERS)}`));
    step = "flowing";
    greet();
    read(chunk.subarray(head.length)); // a server may speak before it is greeted
  };
  const flowing = Promise.withResolvers<void>();
  const socket: Socket = connect({
    host: hostname,
    port: Number(port),
    onread: {
      buffer: Buffer.allocUnsafe(READ_BYTES),
      callback: (size, buffer) => {
        const chunk = Buffer.from(buffer.buffer, buffer.byteOffset, size);
        if (step === "flowing") read(chunk);
        else open(chunk);
        return true;
      },
    },
  });
  socket.setTimeout(OPEN_TIMEOUT_MS, () => socket.destroy(new Error("nothing came")));
  socket.on("error", flowing.reject);
  socket.on("close", () => flowing.reject(new Error("closed before the first answer")));
  if (tunnel === null) greet();
  else socket.write(`CONNECT ${tunnel} HTTP/1.1\r\nHost: ${tunnel}\r\n\r\n`);

  await flowing.promise;
  const lose = () => (failed += 1);
  socket.once("close", lose);
  const startedMonoMs = performance.now();
  bytes = 0;
  await sleep(durationS * 1_000);
  const durationMs = performance.now() - startedMonoMs;
  socket.off("close", lose);
  socket.destroy();
  return { bytes, failed, durationMs };
}

/** A request in HPACK (RFC 7541) that needs no table but the static one. */
function requestHead(path: string, authority: string): Buffer {
  const text = (value: string) => [value.length, ...Buffer.from(value, "latin1")]; // of less than 127 bytes
  return Buffer.from([
    ...[0x83, 0x86], // :method POST, :scheme http
    ...[0x04, ...text(path)],
    ...[0x01, ...text(authority)],
    ...[0x0f, 0x10, ...text("application/grpc")], // content-type
    ...[0x00, ...text("te"), ...text("trailers")],
  ]);
}

function endsStream(type: number, flags: number): boolean {
  return type === FRAME.resetStream || ((type === FRAME.headers || type === FRAME.data) && (flags & FLAG.endStream) !== 0);
}

function frame(type: number, flags: number, streamId: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

function setting(id: number, value: number): Buffer {
  return Buffer.concat([Buffer.of(0, id), uint32(value)]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

if (import.meta.main) {
  const options = JSON.parse(process.argv[2] ?? "{}") as GrpcBulkOptions; // from our own parent
  try {
    process.stdout.write(`${JSON.stringify(await runGrpcBulk(options))}\n`);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exit(1); // the connection may still be open
  }
}
