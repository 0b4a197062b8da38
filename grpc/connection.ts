// One connection of a client, on the HTTP/2 of the sidecar's engine: each stream that it opens becomes a call of one of the methods served. Knows who is at the other
// end, and whose messages wait for room.
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { FIELD } from "../core/field-kind.ts";
import { firstOfKind, NO_EDIT, NO_FIELDS } from "../sidecar/fields.ts";
import { FLOOD } from "../sidecar/http2/flood-guard.ts";
import { H2_ERROR, SETTING } from "../sidecar/http2/frames.ts";
import type { HeaderList } from "../sidecar/http2/header-list.ts";
import { MAX_CONCURRENT_STREAMS, ServerConnection, type ServerEngine, type ServerTimeouts } from "../sidecar/http2/server-connection.ts";
import type { Stream } from "../sidecar/http2/stream.ts";

const MAX_HEADER_LIST_BYTES = 16 * 1024;

/** How long a client may take, ms. */
export const GRPC_TIMEOUTS: ServerTimeouts = { headMs: 10_000, discardMs: 2_000 };

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
export interface ConnectionServer extends ServerEngine {
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

/** Serves one client. */
export class GrpcConnection extends ServerConnection {
  readonly peer: Peer;
  protected override readonly settings = SETTINGS;
  protected override readonly signOfLife = SIGN_OF_LIFE;
  readonly #server: ConnectionServer;
  readonly #waiting = new Set<WaitingCall>();

  constructor(socket: TLSSocket, server: ConnectionServer) {
    super(socket, server, null);
    this.#server = server;
    this.peer = peerOf(socket, server.verifiedChain(socket));
  }

  protected override begin(stream: Stream, head: HeaderList, isEnd: boolean): void {
    const isGrpc = head.method?.value === "POST" && firstOfKind(head, FIELD.contentType)?.startsWith("application/grpc") === true;
    if (!isGrpc) return stream.sendAnswer("415", NO_FIELDS, NO_EDIT, true);
    this.#server.begin(stream, head.path?.value ?? "", head, this.peer, isEnd);
  }

  protected override onLargeHead(stream: Stream): void {
    this.failStream(stream, H2_ERROR.protocolError, "a head of too many fields or octets");
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

  /** One that was answered whole and goes on sending. */
  protected override checkStream(stream: Stream, nowMonoMs: number, discardMs: number): void {
    if (stream.isLocalEnded && nowMonoMs - stream.movedMonoMs >= discardMs) stream.reset(H2_ERROR.noError);
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

const SIGN_OF_LIFE = { silentMs: 20_000, pongMs: 10_000 } as const;

const SETTINGS = [
  [SETTING.maxConcurrentStreams, MAX_CONCURRENT_STREAMS],
  [SETTING.maxHeaderListSize, MAX_HEADER_LIST_BYTES],
] as const;
