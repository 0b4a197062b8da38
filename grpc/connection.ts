// One connection of a client, on the HTTP/2 of the sidecar's engine: each stream that it opens becomes a call of one of the methods served. Owns how many there may be,
// and how the connection ends (RFC 9113 section 6.8).
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { FIELD } from "../core/field-kind.ts";
import { firstOfKind, FlatFields, NO_EDIT } from "../sidecar/fields.ts";
import { type ConnectionEngine, Http2Connection } from "../sidecar/http2/connection.ts";
import { FLOOD, type Flood } from "../sidecar/http2/flood-guard.ts";
import { H2_ERROR, MAX_31_BIT, PREFACE, SETTING } from "../sidecar/http2/frames.ts";
import type { HeaderList } from "../sidecar/http2/header-list.ts";
import { flawOfRequest } from "../sidecar/http2/request-head.ts";
import { Stream } from "../sidecar/http2/stream.ts";

/** Streams that one client may have open. */
const MAX_CONCURRENT_STREAMS = 1_000;
const MAX_HEADER_LIST_BYTES = 16 * 1024;
/** A client that says nothing is asked for a sign of life, and has so long to give it, ms. */
const SILENT_MS = 20_000;
const PONG_MS = 10_000;
/** Until the preface and SETTINGS have come, and for the rest of a frame, ms. */
const HEAD_MS = 10_000;
/** A stream that was answered whole and goes on sending is reset after so long, ms. */
const DISCARD_MS = 2_000;
/** Between the two GOAWAYs, when the client does not answer the PING, ms. */
const FAREWELL_MS = 1_000;

/** Who is at the other end. */
export interface Peer {
  /** `address:port`. */
  readonly name: string;
  readonly address: string;
  /** As grpc-js has it: the certificate is there exactly when its chain was verified. With it stands what was sent besides, where a root alone has not signed it. */
  readonly authContext: {
    readonly transportSecurityType: "ssl";
    readonly sslPeerCertificate?: { readonly raw: Buffer; readonly issuers?: readonly Buffer[] };
  };
}

/** What a connection needs of its server. */
export interface ConnectionServer extends ConnectionEngine {
  /** What the client sent, leaf first; empty when its chain is not verified. */
  verifiedChain(socket: TLSSocket): readonly X509Certificate[];
  /** Begins a call on a stream whose head is well-formed; `isEnd`: the client has nothing to say. */
  begin(stream: Stream, path: string, head: HeaderList, peer: Peer, isEnd: boolean): void;
  /** A client broke a rule; for the log. */
  flawed(peer: Peer, detail: string): void;
  forget(connection: GrpcConnection): void;
}

/** A call with messages that wait for room. */
export interface WaitingCall {
  onRoom(): void;
}

const LIFE = { open: 0, leaving: 1, left: 2 } as const;

/** Serves one client. */
export class GrpcConnection extends Http2Connection {
  readonly peer: Peer;
  readonly #server: ConnectionServer;
  /** Octets of the preface that have come. */
  #prefaceBytes = 0;
  #lastId = 0;
  #life: (typeof LIFE)[keyof typeof LIFE] = LIFE.open;
  #leavingMonoMs = 0;
  readonly #openedMonoMs: number;
  readonly #waiting = new Set<WaitingCall>();
  /** When a PING went out that is not answered yet; 0 while none is. */
  #pingedMonoMs = 0;

  constructor(socket: TLSSocket, server: ConnectionServer) {
    super(socket, server, null);
    this.#server = server;
    this.#openedMonoMs = server.nowMonoMs;
    this.peer = peerOf(socket, server.verifiedChain(socket));
  }

  start(): void {
    this.greet(NO_BYTES, SETTINGS);
    this.wire.start();
  }

  protected override take(bytes: Buffer, start: number, end: number): void {
    if (this.#prefaceBytes < PREFACE.length) this.#readPreface(bytes, start, end);
    else this.read(bytes, start, end);
    this.pauseWhenUnread();
  }

  #readPreface(bytes: Buffer, start: number, end: number): void {
    const from = this.#prefaceBytes;
    const length = Math.min(end - start, PREFACE.length - from);
    if (PREFACE.compare(bytes, start, start + length, from, from + length) !== 0)
      return this.fail(H2_ERROR.protocolError, "no HTTP/2 preface");
    this.#prefaceBytes += length;
    if (start + length < end) this.read(bytes, start + length, end);
  }

  protected override onHead(id: number, head: HeaderList, isEnd: boolean): void {
    const known = this.streams.get(id);
    if (known !== undefined) return this.takeTrailers(known, head, isEnd);
    if ((id & 1) === 0) return this.fail(H2_ERROR.protocolError, `a client's stream has the id ${id}`);
    if (id <= this.#lastId) return this.onStrayHead(id);
    if (this.#life === LIFE.left) return this.#refuseStream(id, FLOOD.stray);
    this.#lastId = id;
    if (this.streams.size >= MAX_CONCURRENT_STREAMS) return this.#refuseStream(id, FLOOD.provokedReset);
    this.guard.earnByStream();
    const stream = new Stream(this, id, null);
    stream.hasHead = true;
    stream.isRemoteEnded = isEnd;
    this.streams.set(id, stream);
    const flaw = head.isTooLarge ? "a head of too many fields or octets" : flawOfRequest(head);
    if (flaw !== null) return this.failStream(stream, H2_ERROR.protocolError, flaw);
    const isGrpc = head.method?.value === "POST" && firstOfKind(head, FIELD.contentType)?.startsWith("application/grpc") === true;
    if (!isGrpc) return stream.sendAnswer("415", NO_FIELDS, NO_EDIT, true);
    this.#server.begin(stream, head.path?.value ?? "", head, this.peer, isEnd);
  }

  /** More streams than it was told of, or later than the last: it may not have heard yet, or may not care. */
  #refuseStream(id: number, kind: Flood): void {
    if (!this.guard.spend(kind)) return this.flooded(kind);
    this.writeReset(id, H2_ERROR.refusedStream);
  }

  protected override isIdle(id: number): boolean {
    return (id & 1) === 0 || id > this.#lastId;
  }

  protected override get lastTakenId(): number {
    return this.#lastId;
  }

  protected override onSettings(): void {}

  protected override onGoaway(): void {} // it will open no more streams, or it will: both is served

  protected override onPong(): void {
    this.#pingedMonoMs = 0;
    if (this.#life === LIFE.leaving) this.#leave();
  }

  /** What a call costs before it is reset is little more than its head. */
  protected override onPeerReset(): void {
    if (!this.guard.spend(FLOOD.rapidReset)) this.flooded(FLOOD.rapidReset);
  }

  protected override onFlaw(code: number, detail: string): void {
    this.#server.flawed(this.peer, `HTTP/2 error ${code}: ${detail}`);
  }

  protected override onStreamFlaw(stream: Stream, code: number, detail: string): void {
    this.#server.flawed(this.peer, `stream ${stream.id}, HTTP/2 error ${code}: ${detail}`);
  }

  // Whose messages wait.

  /** True while a message had better wait where it is: shared with others, instead of copied behind what waits already. */
  get isFull(): boolean {
    return this.isBlocked || this.sendWindow <= 0;
  }

  /** Calls it as soon as there is room. */
  waitForRoom(call: WaitingCall): void {
    this.#waiting.add(call);
  }

  stopWaiting(call: WaitingCall): void {
    this.#waiting.delete(call);
  }

  protected override pump(): void {
    super.pump();
    for (const call of this.#waiting) {
      if (this.isFull) return;
      this.#waiting.delete(call);
      call.onRoom();
    }
  }

  // How it ends.

  /** No further calls: says so, and ends when those under way have ended. */
  drain(): void {
    if (this.#life !== LIFE.open || this.isOver) return;
    this.#life = LIFE.leaving;
    this.#leavingMonoMs = this.#server.nowMonoMs;
    // What crosses this on its way is served; the answer to the PING says that nothing does any more.
    this.frames.goaway(MAX_31_BIT, H2_ERROR.noError);
    this.frames.ping();
  }

  #leave(): void {
    this.#life = LIFE.left;
    this.frames.goaway(this.#lastId, H2_ERROR.noError);
    this.#endWhenEmpty();
  }

  #endWhenEmpty(): void {
    if (this.#life === LIFE.left && this.streams.size === 0 && !this.isOver) this.end();
  }

  protected override onStreamOver(): void {
    this.#endWhenEmpty();
  }

  override onClose(): void {
    super.onClose();
    this.#server.forget(this);
  }

  /** Cuts it off. */
  close(): void {
    if (!this.isOver) this.frames.goaway(this.#lastId, H2_ERROR.noError);
    this.destroy();
  }

  /** Looks at how long things have taken; called by the server's sweep. */
  check(): void {
    if (this.isOver) return this.checkLinger();
    const now = this.#server.nowMonoMs;
    if (!this.hasPeerSettings && now - this.#openedMonoMs >= HEAD_MS)
      return this.fail(H2_ERROR.settingsTimeout, "no preface or SETTINGS in time");
    if (this.#life === LIFE.leaving && now - this.#leavingMonoMs >= FAREWELL_MS) this.#leave();
    this.checkUnfinished(HEAD_MS);
    for (const stream of this.streams.values()) {
      if (stream.isLocalEnded && now - stream.movedMonoMs >= DISCARD_MS) stream.reset(H2_ERROR.noError);
    }
    if (!this.isOver) this.#checkLife(now);
  }

  #checkLife(now: number): void {
    if (this.#pingedMonoMs > this.heardMonoMs) {
      if (now - this.#pingedMonoMs >= PONG_MS) this.destroy();
    } else if (now - this.heardMonoMs >= SILENT_MS) {
      this.#pingedMonoMs = now;
      this.frames.ping();
    }
  }
}

/** An unverified certificate counts as none: fails closed. */
function peerOf(socket: TLSSocket, [leaf, ...sent]: readonly X509Certificate[]): Peer {
  const raw = leaf?.raw;
  const issuers = sent.length === 0 ? {} : { issuers: sent.map((one) => one.raw) };
  return {
    address: socket.remoteAddress ?? "",
    name: `${socket.remoteAddress ?? ""}:${socket.remotePort ?? 0}`,
    authContext: { transportSecurityType: "ssl", ...(raw === undefined ? {} : { sslPeerCertificate: { raw, ...issuers } }) },
  };
}

const NO_BYTES = Buffer.alloc(0);
const NO_FIELDS = new FlatFields([]);

const SETTINGS = [
  [SETTING.maxConcurrentStreams, MAX_CONCURRENT_STREAMS],
  [SETTING.maxHeaderListSize, MAX_HEADER_LIST_BYTES],
] as const;
