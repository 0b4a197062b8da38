// One call of gRPC as its handler sees it, on one stream of HTTP/2: messages in, messages out, one status at the end. Handlers are written for grpc-js's calls; what
// they touch of one is here under the same names, without the three Node streams that grpc-js and node:http2 put below each call: of 40 000 calls that is the memory.
//
// HOT PATH: per message one call of a listener and one copy into the connection's outbox.
import type { MethodDefinition } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { type BidiCall, type CallStatus, framed, type TakeBytes } from "../core/wire/server-call.ts";
import { FlatFields, NO_EDIT } from "../sidecar/fields.ts";
import type { HeaderList } from "../sidecar/http2/header-list.ts";
import type { ByteSource, Stream, StreamTaker } from "../sidecar/http2/stream.ts";
import type { GrpcConnection, Peer, WaitingCall } from "./connection.ts";
import { type MessageFlaw, type MessageOwner, MessageReader } from "./message-reader.ts";

const HEAD = new FlatFields(["content-type", "application/grpc"]);
const OK = new FlatFields(["grpc-status", "0"]);

/** What a handler can listen to. */
export type CallEvent = "data" | "end" | "drain" | "cancelled" | "close" | "finish" | "error";
type Listener = (argument: never) => void;

/** Hears of what a call takes. */
export interface CallMeter {
  /** A message came. False: it was too much, the call has been ended. */
  takeMessage(call: ServerCall): boolean;
  /** A message is larger than allowed; ends the call. */
  onTooLarge(call: ServerCall, details: string): void;
}

/** A call. */
export class ServerCall implements BidiCall<unknown, unknown>, StreamTaker, ByteSource, MessageOwner, WaitingCall {
  readonly peer: Peer;
  /** Null: nobody counts. */
  meter: CallMeter | null = null;
  /** True once the client gave it up, or its connection is gone. */
  cancelled = false;
  /** True once nothing can be sent on it. */
  destroyed = false;
  writableEnded = false;
  readonly #stream: Stream;
  readonly #method: MethodDefinition<unknown, unknown>;
  readonly #reader: MessageReader;
  /** Listeners, by twos: event, listener, event, listener, … */
  readonly #listeners: (CallEvent | Listener)[] = [];
  /** Takes messages undecoded; null: "data" is told. */
  #take: TakeBytes | null = null;
  /** Messages that came while paused; the client's window bounds them. Null while there are none. */
  #kept: Buffer[] | null = null;
  /** Octets whose window the client gets back when none is kept any more. */
  #heldBytes = 0;
  /** Messages that wait for room on the connection, as references: what many are told is in memory once. Null while there are none. */
  #unsent: Buffer[] | null = null;
  #isPaused = false;
  #hasHead = false;
  #hasEnded = false;
  #waitingBytes = 0;
  #isFull = false;
  #isTold = false;

  constructor(stream: Stream, method: MethodDefinition<unknown, unknown>, peer: Peer, maxMessageBytes: number) {
    this.#stream = stream;
    this.#method = method;
    this.peer = peer;
    this.#reader = new MessageReader(this, maxMessageBytes);
    stream.taker = this;
    stream.source = this;
  }

  /** Of the method: `/package.Service/Method`. */
  get path(): string {
    return this.#method.path;
  }

  /** True when either side may send more than one message. */
  get isStream(): boolean {
    return this.#method.requestStream || this.#method.responseStream;
  }

  /** Streams that come to a call are made by {@link GrpcConnection} alone. */
  get #connection(): GrpcConnection {
    return this.#stream.connection as GrpcConnection;
  }

  // What handlers use, as in grpc-js.

  /** `address:port`. */
  getPeer(): string {
    return this.peer.name;
  }

  getAuthContext(): Peer["authContext"] {
    return this.peer.authContext;
  }

  on(event: CallEvent, listener: Listener): this {
    this.#listeners.push(event, listener);
    return this;
  }

  /** An "error" is the status that ends the call; other events are told to listeners. */
  emit(event: CallEvent, argument?: unknown): boolean {
    if (event === "error") this.finish(argument as CallStatus);
    else this.#tell(event, argument);
    return true;
  }

  /** False: so much waits for the client that no more should be written; "drain" follows. */
  write(message: unknown): boolean {
    return this.writeFramed(framed(this.#method.responseSerialize(message)));
  }

  /** As {@link write}, of a message that has its prefix already: for what many are told. */
  writeFramed(bytes: Buffer, rest: Buffer | null = null): boolean {
    if (this.destroyed || this.writableEnded) return true;
    this.#sendHead();
    // What is short, as the answer to a heartbeat, does not wait behind what is long.
    if (this.#unsent === null && (rest === null || !this.#connection.isFull)) {
      this.#send(bytes);
      if (rest !== null) this.#send(rest);
      return !this.#isFull;
    }
    this.#unsent ??= [];
    this.#unsent.push(bytes);
    if (rest !== null) this.#unsent.push(rest);
    this.#connection.waitForRoom(this);
    return false;
  }

  #send(bytes: Buffer): void {
    this.#stream.sendData(bytes, 0, bytes.length, false);
  }

  /** The connection has room again. */
  onRoom(): void {
    while (this.#unsent !== null) {
      if (this.#connection.isFull) return this.#connection.waitForRoom(this);
      const bytes = this.#unsent.shift();
      if (this.#unsent.length === 0) this.#unsent = null;
      if (bytes !== undefined) this.#send(bytes);
    }
    if (!this.#isFull && !this.destroyed) this.#tell("drain");
  }

  takeBytes(take: TakeBytes): void {
    this.#take = take;
  }

  /** Ends it well. */
  end(): void {
    this.finish({ code: status.OK, details: "" });
  }

  /** Messages are kept from here on, instead of told. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    while (this.#kept !== null && !this.#isPaused) {
      const bytes = this.#kept.shift();
      if (this.#kept.length === 0) this.#kept = null;
      if (bytes !== undefined) this.#deliver(bytes);
    }
    if (this.#kept === null) this.#giveBack();
    if (this.#hasEnded && this.#kept === null && !this.#isPaused) this.#tellEnd();
  }

  // What the connection tells.

  onHead(): void {} // of answers only

  onData(_stream: Stream, bytes: Buffer, start: number, end: number, isEnd: boolean): void {
    this.#reader.read(bytes, start, end);
    if (this.#kept === null) this.#stream.credit(end - start);
    else {
      this.#heldBytes += end - start;
      this.#stream.holdUp(end - start);
    }
    if (isEnd) this.#onClientEnd();
  }

  onTrailers(_stream: Stream, _trailers: HeaderList): void {
    this.#onClientEnd();
  }

  /** A client that ends at once. */
  onClientEnd(): void {
    this.#onClientEnd();
  }

  onReset(): void {
    this.cancelled = true;
    this.#close("cancelled");
  }

  onSent(): void {
    this.#close("finish");
  }

  onMessage(bytes: Buffer, start: number, end: number): void {
    if (this.destroyed || this.writableEnded) return;
    if (this.meter !== null && !this.meter.takeMessage(this)) return;
    if (this.#take !== null && !this.#isPaused) return this.#take(bytes, start, end);
    // The bytes are the connection's; what a message is made of may be views of them.
    const own = Buffer.from(bytes.subarray(start, end));
    if (!this.#isPaused) return this.#deliver(own);
    if (this.#kept === null) this.#kept = [own];
    else this.#kept.push(own);
  }

  onMessageFlaw(flaw: MessageFlaw, length: number): void {
    if (flaw === "compressed") return this.finish({ code: status.UNIMPLEMENTED, details: "compressed messages are not understood here" });
    const details = `a message of ${length} octets is larger than allowed`;
    if (this.meter !== null) this.meter.onTooLarge(this, details);
    else this.finish({ code: status.RESOURCE_EXHAUSTED, details });
  }

  // Bytes that wait for the client.

  holdUp(bytes: number): void {
    this.#waitingBytes += bytes;
    // With tens of thousands of calls, one message each that waits is all there is room for.
    this.#isFull = true;
  }

  release(bytes: number): void {
    this.#waitingBytes -= bytes;
  }

  credit(): void {
    if (!this.#isFull || this.#waitingBytes > 0) return;
    this.#isFull = false;
    if (!this.destroyed && this.#unsent === null) this.#tell("drain");
  }

  /** Sends the status, behind what waits. */
  finish({ code, details, retryAfterMs }: CallStatus): void {
    if (this.writableEnded || this.destroyed) return;
    this.writableEnded = true;
    for (const bytes of this.#unsent ?? []) this.#send(bytes);
    this.#unsent = null;
    const fields = code === status.OK ? OK : new FlatFields(statusFields(code, details, retryAfterMs));
    if (this.#hasHead) return this.#stream.sendTrailers(fields, NO_EDIT);
    const whole = ["content-type", "application/grpc", ...statusFields(code, details, retryAfterMs)];
    this.#hasHead = true;
    this.#stream.sendAnswer("200", new FlatFields(whole), NO_EDIT, true);
  }

  #sendHead(): void {
    if (this.#hasHead) return;
    this.#hasHead = true;
    this.#stream.sendAnswer("200", HEAD, NO_EDIT, false);
  }

  #giveBack(): void {
    const held = this.#heldBytes;
    if (held === 0) return;
    this.#heldBytes = 0;
    this.#stream.release(held);
    this.#stream.credit(held);
  }

  #deliver(bytes: Buffer): void {
    if (this.#take !== null) return this.#take(bytes, 0, bytes.length);
    let message: unknown;
    try {
      message = this.#method.requestDeserialize(bytes);
    } catch (error) {
      return this.finish({ code: status.INTERNAL, details: `the message cannot be read: ${(error as Error).message}` });
    }
    this.#tell("data", message);
  }

  #onClientEnd(): void {
    this.#hasEnded = true;
    if (!this.#isPaused) this.#tellEnd();
  }

  #tellEnd(): void {
    if (this.#isTold) return;
    this.#isTold = true;
    this.#tell("end");
  }

  #close(how: "cancelled" | "finish"): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.#connection.stopWaiting(this);
    this.#unsent = null;
    this.#kept = null;
    this.#giveBack();
    this.#tell(how);
    this.#tell("close");
    this.#listeners.length = 0;
  }

  #tell(event: CallEvent, argument?: unknown): void {
    const listeners = this.#listeners;
    for (let index = 0; index < listeners.length; index += 2) {
      if (listeners[index] === event) (listeners[index + 1] as (argument: unknown) => void)(argument);
    }
  }
}

/** Percent-encoded as the protocol asks of `grpc-message`. */
function statusFields(code: number, details: string, retryAfterMs: number | undefined): string[] {
  const fields = ["grpc-status", String(code)];
  if (details !== "") fields.push("grpc-message", encodeURI(details.toWellFormed()));
  if (retryAfterMs !== undefined) fields.push("grpc-retry-pushback-ms", String(Math.ceil(retryAfterMs)));
  return fields;
}
