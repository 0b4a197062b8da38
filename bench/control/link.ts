// One connection to the control plane that many simulated sidecars share: TLS 1.3 with the certificate of their account, and calls of gRPC on the sidecar's own HTTP/2,
// which costs a fraction of Node's, so that the simulator does not measure itself. Opened by the first call after it was cut.
import { EventEmitter } from "node:events";
import { connect as connectTls, type SecureContext } from "node:tls";
import type { ClientDuplexStream, MethodDefinition } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { systemClock } from "../../core/clock.ts";
import { framed } from "../../core/wire/server-call.ts";
import { type MessageOwner, MessageReader } from "../../grpc/message-reader.ts";
import { FlatFields, NO_EDIT } from "../../sidecar/fields.ts";
import { H2_ERROR } from "../../sidecar/http2/frames.ts";
import type { HeaderList } from "../../sidecar/http2/header-list.ts";
import { keepManySmallBuffers } from "../../sidecar/http2/outbox.ts";
import type { Stream, StreamTaker, UpstreamSide } from "../../sidecar/http2/stream.ts";
import { type ConnectionKeeper, UpstreamConnection } from "../../sidecar/http2/upstream-connection.ts";

const SERVER_NAME = "remora-control.remora-system.sa.cluster.local";
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
/** Most octets of a request's pseudo-header fields. */
const PSEUDO_BYTES = 256;
const NO_BYTES = Buffer.alloc(0);
const FIELDS = new FlatFields(["content-type", "application/grpc", "te", "trailers"]);

// Hundreds of connections that each say little, as on the other side.
keepManySmallBuffers({ bytes: 32 * 1024, count: 128 });

/** Nobody looks after these connections but their calls: the control plane asks for signs of life. */
const engine = {
  get nowMonoMs() {
    return systemClock.monoMs();
  },
};
const keeper: ConnectionKeeper = { onReady() {}, onRoom() {}, onFlood() {}, onRetired() {} };

/** A call that failed, as gRPC says it. */
export class CallError extends Error {
  readonly code: number;
  readonly trailers: Readonly<Record<string, string>>;

  constructor(code: number, message: string, trailers: Readonly<Record<string, string>> = {}) {
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
  let session: Session | null = null;

  function open<Request, Response>(method: MethodDefinition<Request, Response>): ClientDuplexStream<Request, Response> {
    if (session === null || !session.isUsable) session = new Session(port, context);
    const call = new Call(method);
    session.begin(call);
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
      session?.cut();
      session = null;
    },
  };
}

/** What a connection tells a call. */
interface Beginning {
  begin(connection: UpstreamConnection): void;
  onReset(): void;
}

/** One connection, and the calls that wait until it stands. */
class Session {
  isUsable = true;
  readonly #cut: () => void;
  #connection: UpstreamConnection | null = null;
  #waiting: Beginning[] = [];

  constructor(port: number, context: SecureContext) {
    const options = { secureContext: context, ALPNProtocols: ["h2"], servername: SERVER_NAME, checkServerIdentity: () => undefined };
    const socket = connectTls({ port, host: "127.0.0.1", ...options }).setNoDelay(true);
    socket.on("error", () => {}); // `close` follows, and its calls say so
    socket.once("secureConnect", () => {
      this.#connection = new UpstreamConnection({ kind: "plain", stream: socket }, engine, keeper);
      this.#connection.start();
      for (const call of this.#waiting) call.begin(this.#connection);
      this.#waiting = [];
    });
    socket.once("close", () => this.#lose());
    this.#cut = () => socket.destroy();
  }

  begin(call: Beginning): void {
    if (this.#connection === null) this.#waiting.push(call);
    else if (this.#connection.hasRoom) call.begin(this.#connection);
    else queueMicrotask(() => call.onReset());
  }

  cut(): void {
    this.#cut();
    this.#lose();
  }

  #lose(): void {
    this.isUsable = false;
    this.#connection?.onClose(); // once more where it knows already
    for (const call of this.#waiting.splice(0)) call.onReset();
  }
}

/** The part of a call of grpc-js that is used here. */
class Call<Request, Response> extends EventEmitter implements Beginning, StreamTaker, MessageOwner {
  readonly #method: MethodDefinition<Request, Response>;
  readonly #reader = new MessageReader(this, MAX_MESSAGE_BYTES);
  #stream: Stream | null = null;
  /** Messages from before the connection stood; null: the end. */
  #unsent: (Buffer | null)[] = [];
  #isOver = false;

  constructor(method: MethodDefinition<Request, Response>) {
    super();
    this.#method = method;
  }

  begin(connection: UpstreamConnection): void {
    if (this.#isOver) return;
    const stream = connection.open(this);
    const { heads } = connection;
    heads.begin(FIELDS, NO_EDIT, PSEUDO_BYTES);
    heads.repeated(":method", "POST");
    heads.repeated(":scheme", "https");
    heads.repeated(":authority", SERVER_NAME);
    heads.repeated(":path", this.#method.path);
    heads.fields(FIELDS, NO_EDIT, 0);
    heads.end(stream.id, false);
    this.#stream = stream;
    for (const bytes of this.#unsent.splice(0)) this.#send(bytes);
  }

  write(message: Request): void {
    this.#send(framed(this.#method.requestSerialize(message)));
  }

  end(): void {
    this.#send(null);
  }

  #send(bytes: Buffer | null): void {
    if (this.#stream === null) this.#unsent.push(bytes);
    else this.#stream.sendData(bytes ?? NO_BYTES, 0, bytes?.length ?? 0, bytes === null);
  }

  cancel(): void {
    this.#isOver = true;
    this.#stream?.reset(H2_ERROR.cancel);
  }

  onHead(_stream: UpstreamSide, head: HeaderList, isEnd: boolean): void {
    if (isEnd) this.#end(head);
  }

  onData(stream: UpstreamSide, bytes: Buffer, start: number, end: number): void {
    this.#reader.read(bytes, start, end);
    (stream as Stream).credit(end - start); // those of an UpstreamConnection are no others
  }

  onMessage(bytes: Buffer, start: number, end: number): void {
    // The bytes are the connection's; what a message is made of may be views of them.
    if (!this.#isOver) this.emit("data", this.#method.responseDeserialize(Buffer.from(bytes.subarray(start, end))));
  }

  onMessageFlaw(flaw: string, length: number): void {
    this.#fail(new CallError(status.INTERNAL, `a message of ${length} octets is ${flaw}`));
  }

  onTrailers(_stream: UpstreamSide, trailers: HeaderList): void {
    this.#end(trailers);
  }

  onReset(): void {
    this.#fail(new CallError(status.UNAVAILABLE, "the connection is gone"));
  }

  onSent(): void {}

  #end(list: HeaderList): void {
    const trailers = Object.fromEntries(list.entries.map(({ name, value }) => [name, value]));
    const code = Number(trailers["grpc-status"] ?? status.UNKNOWN);
    if (code !== status.OK) return this.#fail(new CallError(code, decodeURIComponent(trailers["grpc-message"] ?? ""), trailers));
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
