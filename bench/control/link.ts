// One connection to the control plane that many simulated sidecars share: TLS 1.3 with the certificate of their account, HTTP/2, and calls of gRPC on it
// with as little around them as goes, so that the simulator does not measure itself. Opened by the first call after it was cut.
import { EventEmitter } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2, constants } from "node:http2";
import { connect as connectTls, type SecureContext } from "node:tls";
import type { ClientDuplexStream, MethodDefinition } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";

const SERVER_NAME = "remora-control.remora-system.sa.cluster.local";
/** Message prefix: a flag for compression, four octets of length. */
const PREFIX_BYTES = 5;
const SESSION_MEMORY_MB = 1_000;

/** A call that failed, as gRPC says it. */
export class CallError extends Error {
  readonly code: number;
  readonly trailers: Readonly<Record<string, unknown>>;

  constructor(code: number, message: string, trailers: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.code = code;
    this.trailers = trailers;
  }
}

/** A connection. */
export interface Link {
  /** Opens a call; messages go both ways. */
  open<Request, Response>(method: MethodDefinition<Request, Response>): ClientDuplexStream<Request, Response>;
  /** One question, one answer. Rejects with {@link CallError}. */
  ask<Request, Response>(method: MethodDefinition<Request, Response>, request: Request): Promise<Response>;
  /** Cuts the connection as a broken network does; the next call opens another. */
  cut(): void;
}

/** Opens nothing yet. */
export function createLink(port: number, context: SecureContext): Link {
  let session: ClientHttp2Session | null = null;

  function connected(): ClientHttp2Session {
    if (session !== null && !session.closed && !session.destroyed) return session;
    const made = connectHttp2(`https://127.0.0.1:${port}`, {
      maxSessionMemory: SESSION_MEMORY_MB,
      peerMaxConcurrentStreams: 1_000,
      createConnection: () => {
        const options = { secureContext: context, ALPNProtocols: ["h2"], servername: SERVER_NAME, checkServerIdentity: () => undefined };
        return connectTls({ port, host: "127.0.0.1", ...options }).setNoDelay(true);
      },
    });
    made.on("error", () => {}); // its calls say so
    session = made;
    return made;
  }

  function open<Request, Response>(method: MethodDefinition<Request, Response>): ClientDuplexStream<Request, Response> {
    const stream = connected().request({
      [constants.HTTP2_HEADER_METHOD]: "POST",
      [constants.HTTP2_HEADER_PATH]: method.path,
      [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc",
      [constants.HTTP2_HEADER_TE]: "trailers",
    });
    const call = new Call(stream, method);
    return call as unknown as ClientDuplexStream<Request, Response>; // has what our own users of such calls touch
  }

  return {
    open,
    ask(method, request) {
      return new Promise((resolve, reject) => {
        const call = open(method);
        call.on("data", resolve);
        call.on("error", reject);
        call.on("end", () => reject(new CallError(status.INTERNAL, "no answer")));
        call.write(request);
        call.end();
      });
    },
    cut() {
      session?.destroy();
      session = null;
    },
  };
}

/** The part of a call of grpc-js that is used here. */
class Call<Request, Response> extends EventEmitter {
  readonly #stream: ClientHttp2Stream;
  readonly #method: MethodDefinition<Request, Response>;
  #rest: Buffer | null = null;
  #isOver = false;

  constructor(stream: ClientHttp2Stream, method: MethodDefinition<Request, Response>) {
    super();
    this.#stream = stream;
    this.#method = method;
    stream.on("response", (headers) => {
      if (headers["grpc-status"] !== undefined) this.#end(headers);
    });
    stream.on("data", (chunk: Buffer) => this.#read(chunk));
    stream.on("trailers", (trailers) => this.#end(trailers));
    stream.on("error", (error) => this.#fail(new CallError(status.UNAVAILABLE, error.message)));
    stream.on("close", () => this.#fail(new CallError(status.UNAVAILABLE, "the connection is gone")));
  }

  write(message: Request): void {
    const body = this.#method.requestSerialize(message);
    const framed = Buffer.allocUnsafe(PREFIX_BYTES + body.length);
    framed[0] = 0;
    framed.writeUInt32BE(body.length, 1);
    body.copy(framed, PREFIX_BYTES);
    if (!this.#stream.destroyed) this.#stream.write(framed);
  }

  end(): void {
    this.#stream.end();
  }

  cancel(): void {
    this.#isOver = true;
    this.#stream.close(constants.NGHTTP2_CANCEL);
  }

  #read(chunk: Buffer): void {
    let bytes = this.#rest === null ? chunk : Buffer.concat([this.#rest, chunk]);
    while (bytes.length >= PREFIX_BYTES) {
      const end = PREFIX_BYTES + bytes.readUInt32BE(1);
      if (bytes.length < end) break;
      this.emit("data", this.#method.responseDeserialize(bytes.subarray(PREFIX_BYTES, end)));
      bytes = bytes.subarray(end);
    }
    this.#rest = bytes.length === 0 ? null : bytes;
  }

  #end(trailers: Readonly<Record<string, unknown>>): void {
    const code = Number(trailers["grpc-status"] ?? status.UNKNOWN);
    if (code !== status.OK) return this.#fail(new CallError(code, decodeURIComponent(String(trailers["grpc-message"] ?? "")), trailers));
    if (this.#isOver) return;
    this.#isOver = true;
    this.emit("end");
  }

  #fail(error: CallError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.emit("error", error);
  }
}
