// One connection from a client: reads its requests, one after the other, runs the stage list for each, forwards it to an upstream and its answer back
// (design 4). Requests that are pipelined wait in the socket. Owns the exchange from its head to its last byte; which upstream it goes to is the stage
// list's word, which connection to it the pool's, how an answer is framed the writer's.
//
// HOT PATH: per request one scan of each head, one write each way; per chunk of a body one call each. No promise, no timer and no closure per request:
// waiting is watched by the engine's sweep. Bytes that nobody can take yet are held, at most one read and what TLS had decrypted; then reading pauses.
import type { Exchange, Refusal } from "../exchange.ts";
import { refuse } from "../exchange.ts";
import { type Decision, HELD_BODY_BYTES, type HttpHandler, type ServedConnection, type Upstream } from "../engine.ts";
import { RESCUE } from "../rescue.ts";
import { giveBack } from "../transport/fast-read.ts";
import { flush, putBytes, putText } from "../transport/outgoing.ts";
import { Wire, type WireOwner } from "../transport/wire.ts";
import type { AnswerReader } from "./answer-reader.ts";
import { AnswerWriter } from "./answer-writer.ts";
import { BodyReader } from "./body-reader.ts";
import type { OnData } from "./chunked.ts";
import { BODY } from "./framing.ts";
import { HeldBody } from "./held-body.ts";
import type { Http1Timeouts } from "./patience.ts";
import type { RequestHop, RequestReader } from "./request-reader.ts";
import { STRICTNESS, type StrictnessRule } from "./strictness.ts";
import type { AnswerTaker, UpstreamConnection } from "./upstream-connection.ts";
import type { ConnectionTaker, UpstreamPool } from "./upstream-pool.ts";
import { trailerSection } from "./write-head.ts";

/** What a client's connection needs of its engine. */
export interface Http1Engine {
  readonly timeouts: Http1Timeouts;
  /** The instant of the last sweep, monotonic ms: exact enough to tell who has waited for seconds. */
  readonly nowMonoMs: number;
  poolFor(upstream: Upstream): UpstreamPool;
  /** Lends a reader for one request. */
  takeReader(): RequestReader;
  giveReader(reader: RequestReader): void;
  /** True when connections of this direction are to end after their current answer. */
  isDraining(direction: Exchange["direction"]): boolean;
  /** The connection is gone. */
  forget(connection: ClientConnection): void;
}

const PHASE = {
  /** Between requests, or a head is coming. */
  head: 0,
  /** The stage list was asked. */
  deciding: 1,
  /** The body is held until it is known whole. */
  holding: 2,
  /** A connection to the upstream was asked for. */
  connecting: 3,
  /** The request goes one way, the answer the other. */
  open: 4,
  /** Answered; the rest of the request's body is thrown away. */
  discarding: 5,
  tunnel: 6,
  /** The stream was given away; of its events only the last matters. */
  handedOver: 8,
  /** Sent its last answer; what still comes is thrown away. */
  over: 7,
} as const;
type Phase = (typeof PHASE)[keyof typeof PHASE];

/** Serves one client. */
export class ClientConnection implements WireOwner, ConnectionTaker, AnswerTaker {
  readonly served: ServedConnection;
  readonly #wire: Wire;
  readonly #engine: Http1Engine;
  readonly #handler: HttpHandler;
  /** Lent by the engine from the first byte of a head to the last of its exchange. */
  #reader: RequestReader | null = null;
  readonly #body = new BodyReader();
  readonly #answer: AnswerWriter;
  #phase: Phase = PHASE.head;
  /** When the current kind of waiting began, or last moved. */
  #sinceMonoMs: number;
  /** Bytes that the blocked stream held when it was last looked at: another number at the next look is progress. */
  #blockedBytes = 0;
  /** Bytes that came while nobody could take them; null for none. */
  #stash: Buffer | null = null;
  /** True while bytes are being taken: what is answered meanwhile goes on in the same loop. */
  #isTaking = false;

  // The current request, from its head to its last byte.
  /** Set exactly from the stage list's decision to `finish`. */
  #exchange: Exchange | null = null;
  /** Set exactly while the request is on a connection. */
  #upstream: UpstreamConnection | null = null;
  #pool: UpstreamPool | null = null;
  /** Set for a request whose body is held, and the upstream that it waits for. */
  #held: HeldBody | null = null;
  #target: Upstream | null = null;
  #isRetried = false;
  /** The protocol that the request asks to switch to; empty for none. */
  #upgradeTo = "";

  constructor(served: ServedConnection, engine: Http1Engine) {
    this.served = served;
    this.#engine = engine;
    this.#handler = served.handler;
    this.#sinceMonoMs = engine.nowMonoMs;
    this.#wire = new Wire(served.stream, this);
    this.#answer = new AnswerWriter(this.#wire, served.handler);
  }

  start(): void {
    this.#wire.start();
  }

  /** The request that is under way; there is one from its first byte on. */
  get #request(): RequestReader {
    return this.#reader as RequestReader;
  }

  get method(): string {
    return this.#request.method;
  }

  get asksForTunnel(): boolean {
    return this.#upgradeTo !== "" || this.method === "CONNECT";
  }

  // What comes from the client.

  onBytes(bytes: Buffer, length: number): void {
    if (this.#phase !== PHASE.head || this.#reader === null) this.#sinceMonoMs = this.#engine.nowMonoMs;
    this.#take(bytes, length);
    flush();
  }

  #take(bytes: Buffer, end: number): void {
    this.#isTaking = true;
    let at = 0;
    while (at < end && this.#phase !== PHASE.over) {
      const next = this.#takeSome(bytes, at, end);
      if (next === -1) {
        this.#keep(bytes, at, end);
        break;
      }
      at = next;
    }
    this.#isTaking = false;
  }

  /** Takes what the current phase can; returns how far, or -1 when nothing can be taken now. */
  #takeSome(bytes: Buffer, at: number, end: number): number {
    switch (this.#phase) {
      case PHASE.head:
        return this.#takeHead(bytes, at, end);
      case PHASE.open:
        return this.#body.isDone ? -1 : this.#forwardBody(bytes, at, end);
      case PHASE.holding:
        return this.#body.isDone ? -1 : this.#holdBody(bytes, at, end);
      case PHASE.discarding:
        return this.#discardBody(bytes, at, end);
      case PHASE.tunnel:
        return this.#forwardTunnel(bytes, at, end);
      default:
        return -1;
    }
  }

  #keep(bytes: Buffer, at: number, end: number): void {
    const rest = bytes.subarray(at, end);
    this.#stash = this.#stash === null ? Buffer.from(rest) : Buffer.concat([this.#stash, rest]);
    this.#wire.pause();
  }

  /** Ends an event that did not come from the client's own bytes: goes on with what was kept, and reads on. */
  #settle(): void {
    if (this.#isTaking) return;
    const kept = this.#stash;
    if (kept !== null) {
      this.#stash = null;
      this.#take(kept, kept.length);
    }
    if (this.#stash === null && !this.#isUpstreamBlocked()) this.#wire.resume();
    flush();
  }

  #isUpstreamBlocked(): boolean {
    return this.#upstream?.wire.isBlocked === true;
  }

  #takeHead(bytes: Buffer, at: number, end: number): number {
    this.#reader ??= this.#engine.takeReader();
    const next = this.#reader.read(bytes, at, end);
    if (next > end) return end;
    if (next !== -1) {
      this.#begin();
      return next;
    }
    this.#refuseConnection(refusalOf(this.#reader.flaw as StrictnessRule)); // set with -1
    return end;
  }

  // The stages.

  #begin(): void {
    const request = this.#request;
    const { framing } = request;
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    this.#body.begin(request.bodyKind, framing.length);
    this.#answer.begin(request.method, request.isHttp10, request.isPersistent);
    this.#isRetried = false;
    this.#held = null;
    this.#upgradeTo = this.#body.isDone ? request.upgradeTo : "";
    this.#phase = PHASE.deciding;
    if (request.method === "CONNECT" && this.served.tunnel !== null) return this.#openTunnel(request.authority);
    this.#handler.request(this.served.context, request, this.#onDecision);
  }

  readonly #onDecision = (exchange: Exchange, decision: Decision): void => {
    this.#exchange = exchange;
    // The client left while the stages were waiting for a look-up.
    if (this.#phase !== PHASE.deciding) return this.#finish();
    if (decision.kind === "refuse") this.#refuse(decision.refusal);
    else if (decision.body === "verify") this.#hold(decision.upstream);
    else this.#connect(decision.upstream);
    this.#settle();
  };

  #hold(upstream: Upstream): void {
    this.#held = new HeldBody();
    this.#target = upstream;
    this.#phase = PHASE.holding;
    if (this.#request.framing.expectContinue) putText(this.#wire, "HTTP/1.1 100 Continue\r\n\r\n");
    if (this.#body.isDone) this.#check();
  }

  #holdBody(bytes: Buffer, at: number, end: number): number {
    const held = this.#held as HeldBody; // set while holding
    const next = this.#body.advance(bytes, at, end, held.addContent);
    if (next === -1) return this.#refuseBody(end);
    held.addRaw(bytes, at, this.#body.passTo);
    if (held.contentBytes > HELD_BODY_BYTES) this.#refuse(refuse("signature_invalid", `body larger than ${HELD_BODY_BYTES} bytes`));
    else if (this.#body.isDone) this.#check();
    return next;
  }

  #check(): void {
    const refusal = this.#handler.checkBody(this.#exchange as Exchange, (this.#held as HeldBody).content());
    if (refusal !== null) this.#refuse(refusal);
    else this.#connect(this.#target as Upstream);
  }

  // The upstream.

  #connect(upstream: Upstream): void {
    this.#phase = PHASE.connecting;
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    this.#pool = this.#engine.poolFor(upstream);
    const connection = this.#pool.take(this);
    if (connection !== null) this.#send(connection);
  }

  onConnection(connection: UpstreamConnection): void {
    this.#send(connection);
    this.#settle();
  }

  onNoConnection(failure: Refusal): void {
    const next = failure.reason === "overloaded" ? null : this.#handler.another(this.#exchange as Exchange, failure);
    if (next === null) this.#refuse(failure);
    else this.#connect(next);
    this.#settle();
  }

  #send(connection: UpstreamConnection): void {
    const exchange = this.#exchange as Exchange; // set since the decision
    const refusal = this.#isRetried ? null : this.#handler.seal(exchange, null, null);
    if (refusal !== null) {
      this.#pool?.release(connection);
      return this.#refuse(refusal);
    }
    connection.begin(this);
    this.#upstream = connection;
    this.#phase = PHASE.open;
    this.#blockedBytes = 0;
    this.#request.put(connection.wire, exchange.edit, this.#hop(exchange));
    if (this.#held !== null) this.#sendHeld(connection.wire, this.#held.raw());
  }

  #hop(exchange: Exchange): RequestHop {
    const isUsual = !exchange.isPathSettledAnew && this.#upgradeTo === "" && exchange.method !== "CONNECT" && exchange.authority !== "";
    if (isUsual) return AS_IT_CAME;
    const target = exchange.method === "CONNECT" ? exchange.authority : exchange.isPathSettledAnew ? exchange.path : null;
    // An HTTP/1.0 client need not name a host; the app's side is HTTP/1.1 and must be told one.
    const host = exchange.authority === "" ? exchange.endpointAddress : null;
    return { target, host, upgradeTo: this.#upgradeTo };
  }

  #sendHeld(wire: Wire, raw: Buffer): void {
    putBytes(wire, raw, 0, raw.length);
    this.#forwardTrailers(wire);
  }

  #forwardBody(bytes: Buffer, at: number, end: number): number {
    const { wire } = this.#upstream as UpstreamConnection; // set while open
    const next = this.#body.advance(bytes, at, end, null);
    if (next === -1) return this.#refuseBody(end);
    putBytes(wire, bytes, at, this.#body.passTo);
    if (this.#body.isDone) this.#forwardTrailers(wire);
    if (wire.isBlocked) this.#wire.pause();
    return next;
  }

  #forwardTrailers(wire: Wire): void {
    if (this.#body.kind === BODY.chunked) putText(wire, trailerSection(this.#handler.trailers(this.#body.trailers)));
  }

  #discardBody(bytes: Buffer, at: number, end: number): number {
    const next = this.#body.advance(bytes, at, end, null);
    if (next === -1) {
      this.#endSoon();
      return end;
    }
    if (this.#body.isDone) this.#becomeIdle();
    return next;
  }

  /** A body that turned out to be none: nothing behind it can be trusted. */
  #refuseBody(end: number): number {
    this.#answer.isPersistent = false;
    this.#refuse(refusalOf(this.#body.flaw as StrictnessRule)); // set when a body can't be followed
    return end;
  }

  onUpstreamDrain(): void {
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    if (this.#stash === null) this.#wire.resume();
  }

  onUpstreamLost(wasSilent: boolean): void {
    const wasReused = (this.#upstream?.requests ?? 0) > 1;
    this.#upstream = null;
    if (this.#phase === PHASE.tunnel) return this.#abort();
    if (wasSilent && wasReused && this.#mayBeSentAgain()) {
      this.#isRetried = true;
      this.#phase = PHASE.connecting;
      this.#pool?.takeNew(this);
      return;
    }
    this.#fail(refuse("upstream_reset", wasSilent ? "the connection ended before an answer" : detailOf("answer_cut_off")));
    this.#settle();
  }

  /** A pooled connection that its owner was just closing: what can be sent again without harm is, once (RFC 9112 section 9.3.1). */
  #mayBeSentAgain(): boolean {
    return !this.#isRetried && !this.#answer.isBegun && this.#request.isIdempotent && this.#request.bodyKind === BODY.none;
  }

  // The answer.

  onInterim(answer: AnswerReader): void {
    this.#answer.interim(answer);
  }

  onAnswerHead(answer: AnswerReader, body: BodyReader): void {
    const exchange = this.#exchange as Exchange; // set while open
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    const edit = this.#handler.response(exchange, answer.status, answer.fields);
    if (this.#isLast()) this.#answer.isPersistent = false;
    this.#answer.head(answer, edit, body);
  }

  /** True when no request can follow: the sidecar drains, or whether a client that waits for a 100 sends its body now is anyone's guess. */
  #isLast(): boolean {
    return (!this.#body.isDone && this.#request.framing.expectContinue) || this.#engine.isDraining(this.served.context.direction);
  }

  get onAnswerContent(): OnData | null {
    return this.#answer.onContent;
  }

  onAnswerBytes(bytes: Buffer, start: number, end: number): void {
    this.#answer.bytes(bytes, start, end);
    if (this.#wire.isBlocked) this.#upstream?.wire.pause();
  }

  onAnswerEnd(connection: UpstreamConnection, body: BodyReader): void {
    this.#answer.end(body);
    this.#upstream = null;
    // One whose request is not whole yet would take the next request for the rest of its body.
    if (this.#body.isDone) this.#pool?.release(connection);
    else connection.destroy();
    this.#complete();
    this.#settle();
  }

  onAnswerFlaw(rule: StrictnessRule): void {
    this.#upstream = null;
    this.#fail(refuse("upstream_reset", detailOf(rule)));
    this.#settle();
  }

  /** The exchange can't go on. An answer that has begun can only be cut off, so that nobody takes it for whole. */
  #fail(refusal: Refusal): void {
    if (!this.#answer.isBegun) return this.#refuse(refusal);
    if (this.#exchange !== null) this.#exchange.refusal ??= refusal;
    this.#abort();
  }

  /** Answers by itself. */
  #refuse(refusal: Refusal): void {
    if (this.#answer.isBegun) return this.#fail(refusal);
    const exchange = this.#exchange as Exchange; // set since the decision
    this.#leaveUpstream();
    exchange.refusal = refusal;
    if (RESCUE[refusal.reason].close || this.#isLast()) this.#answer.isPersistent = false;
    exchange.status = this.#answer.refusal(refusal, { grpc: exchange.grpc, told: this.#isTold });
    this.#complete();
  }

  get #isTold(): boolean {
    return this.served.context.peer.told;
  }

  /** Bytes that are no request: counted, answered, and the connection ended (design 13, rule 5). */
  #refuseConnection(refusal: Refusal): void {
    this.#handler.malformed(this.served.context, refusal);
    this.#answer.begin("", false, false);
    this.#answer.refusal(refusal, { grpc: false, told: this.#isTold });
    this.#endSoon();
  }

  // How an exchange and a connection end.

  #complete(): void {
    this.#finishWhenWritten();
    this.#held = null;
    this.#target = null;
    if (!this.#answer.isPersistent) return this.#endSoon();
    if (this.#body.isDone) return this.#becomeIdle();
    this.#phase = PHASE.discarding;
    this.#sinceMonoMs = this.#engine.nowMonoMs;
  }

  /** A slow reader's exchange is in flight until its last byte is with the kernel: a drain waits for it. (Connections under TLS it waits for as such.) */
  #finishWhenWritten(): void {
    flush();
    const exchange = this.#exchange;
    if (this.#wire.isTls || this.#wire.pendingBytes === 0 || !this.#wire.isOpen || exchange === null) return this.#finish();
    this.#exchange = null;
    this.#reader = null; // the exchange keeps its head
    this.served.stream.write("", () => this.#handler.finish(exchange));
  }

  #finish(): void {
    const exchange = this.#exchange;
    this.#exchange = null;
    if (exchange !== null) this.#handler.finish(exchange);
  }

  #becomeIdle(): void {
    this.#giveReaderBack();
    this.#phase = PHASE.head;
    this.#sinceMonoMs = this.#engine.nowMonoMs;
  }

  #giveReaderBack(): void {
    if (this.#reader !== null) this.#engine.giveReader(this.#reader);
    this.#reader = null;
  }

  /** Sends what is written and the end, and waits a moment for the peer's (RFC 9112 section 9.6). */
  #endSoon(): void {
    flush();
    this.#phase = PHASE.over;
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    this.#stash = null;
    this.#wire.end();
    this.#wire.resume();
  }

  /** Breaks off: both sides see a reset. */
  #abort(): void {
    this.#leaveUpstream();
    if (this.#phase !== PHASE.deciding) this.#finish();
    this.#phase = PHASE.over;
    this.#stash = null;
    this.#wire.reset();
  }

  #leaveUpstream(): void {
    if (this.#phase === PHASE.connecting) this.#pool?.cancel(this);
    this.#upstream?.destroy();
    this.#upstream = null;
  }

  /** A client that ends its side before its answer counts as gone, as with nginx and Envoy. */
  onEnd(): void {
    if (this.#phase === PHASE.handedOver) return;
    if (this.#phase === PHASE.tunnel) this.#upstream?.wire.end();
    else if (this.#phase === PHASE.head || this.#phase === PHASE.over) this.#endSoon();
    else this.#abort();
  }

  onDrain(): void {
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    this.#upstream?.wire.resume();
  }

  onClose(): void {
    if (this.#phase !== PHASE.handedOver) this.#abort();
    this.#engine.forget(this);
  }

  /** No further request: at once when there is none, else after its answer. */
  drain(): void {
    if (this.#phase === PHASE.head && this.#reader === null && this.#stash === null) this.#endSoon();
  }

  close(): void {
    this.#leaveUpstream();
    this.#wire.stream.destroy();
  }

  // Tunnels.

  onSwitched(answer: AnswerReader): void {
    const edit = this.#handler.response(this.#exchange as Exchange, answer.status, answer.fields);
    this.#phase = PHASE.tunnel;
    this.#answer.switched(answer, edit, answer.status === 101 ? answer.framing.upgradeTo || this.#upgradeTo : "");
    this.#settle();
  }

  #forwardTunnel(bytes: Buffer, at: number, end: number): number {
    const { wire } = this.#upstream as UpstreamConnection; // set for as long as the tunnel is
    putBytes(wire, bytes, at, end);
    if (wire.isBlocked) this.#wire.pause();
    return end;
  }

  onTunnelBytes(bytes: Buffer, start: number, end: number): void {
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    putBytes(this.#wire, bytes, start, end);
    if (this.#wire.isBlocked) this.#upstream?.wire.pause();
  }

  onTunnelEnd(): void {
    flush();
    this.#wire.end();
  }

  /** Explicit capture: the tunnel is opened outside, on the bare stream. */
  #openTunnel(authority: string): void {
    const { tunnel, stream } = this.served;
    this.#wire.pause();
    // Bytes behind the head are the tunnel's first; they are known when this event is over.
    queueMicrotask(() => {
      const first = this.#stash ?? Buffer.alloc(0);
      this.#stash = null;
      this.#phase = PHASE.handedOver;
      giveBack(stream);
      tunnel?.(authority, stream, first, (refusal) => {
        if (refusal !== null) this.#refuseConnection(refusal);
        else if (!stream.destroyed) stream.write("HTTP/1.1 200 Connection established\r\n\r\n");
        flush();
      });
    });
  }

  // Waiting.

  /** Looks at how long things have taken; called by the engine's sweep. */
  check(nowMonoMs: number): void {
    const { timeouts } = this.#engine;
    const waitedMs = nowMonoMs - this.#sinceMonoMs;
    switch (this.#phase) {
      case PHASE.head:
        if (this.#reader !== null && waitedMs >= timeouts.headMs) this.#refuseConnection(TOO_SLOW);
        else if (this.#reader === null && waitedMs >= timeouts.keepAliveMs) this.#endSoon();
        break;
      case PHASE.holding:
        if (waitedMs >= timeouts.stallMs) this.#refuse(TOO_SLOW);
        break;
      case PHASE.connecting:
        if (waitedMs >= timeouts.queueMs) this.#refuse(refuse("overloaded", `no connection within ${timeouts.queueMs} ms`));
        break;
      case PHASE.open:
        if (this.#isStalled() && waitedMs >= timeouts.stallMs) this.#giveUpStalled();
        break;
      case PHASE.discarding:
        if (waitedMs >= timeouts.discardMs) this.#abort();
        break;
      case PHASE.tunnel:
        if (timeouts.tunnelIdleMs > 0 && waitedMs >= timeouts.tunnelIdleMs) this.#abort();
        break;
      case PHASE.over:
        if (waitedMs >= timeouts.lingerMs) this.#wire.reset();
        break;
    }
    flush();
  }

  /** A reader that takes nothing, or a sender that owes a body and sends none. An upstream that thinks about its answer is not slow here. */
  #isStalled(): boolean {
    const blocked = this.#wire.isBlocked ? this.#wire : this.#isUpstreamBlocked() ? (this.#upstream as UpstreamConnection).wire : null;
    const pendingBytes = blocked === null ? 0 : blocked.pendingBytes;
    const isMoving = pendingBytes !== this.#blockedBytes;
    this.#blockedBytes = pendingBytes;
    if (isMoving) this.#sinceMonoMs = this.#engine.nowMonoMs;
    return !isMoving && (blocked !== null || !this.#body.isDone);
  }

  #giveUpStalled(): void {
    if (this.#wire.isBlocked) this.#fail(refuse("timeout", "the client does not read its answer"));
    else this.#fail(this.#isUpstreamBlocked() ? refuse("timeout", "the upstream does not read the request") : TOO_SLOW);
  }
}

const AS_IT_CAME: RequestHop = { target: null, host: null, upgradeTo: "" };
const TOO_SLOW = refuse("timeout", "the request did not come in time", [], 408);

function refusalOf(rule: StrictnessRule): Refusal {
  const { reason, status } = STRICTNESS[rule];
  return refuse(reason, detailOf(rule), [], status);
}

/** The rule's name first: the differential test tells by it why the engines disagree. */
function detailOf(rule: StrictnessRule): string {
  return `rule: ${rule} (${STRICTNESS[rule].text})`;
}
