// One request on its way: from the stage list's decision over the connection to the upstream to the last byte of the answer (design 4). Each client
// connection has one and uses it again for its next request, so that a request makes no object of its own but its exchange. Owns the exchange and the
// upstream connection; the client's bytes, what comes between requests and how the connection ends are the client connection's.
//
// HOT PATH: per request one write each way, per chunk of a body one call. No promise, no timer and no closure per request.
import { type Decision, HELD_BODY_BYTES, type HttpHandler, type Upstream } from "../engine.ts";
import { type Exchange, type Refusal, refuse } from "../exchange.ts";
import type { UpstreamConnection as Http2Connection } from "../http2/upstream-connection.ts";
import { RESCUE } from "../rescue.ts";
import { flush, putBytes, putText } from "../transport/outgoing.ts";
import type { Wire } from "../transport/wire.ts";
import { refusedUnseen } from "../upstream-failure.ts";
import type { AnswerBody, AnswerHead } from "./answer-head.ts";
import type { AnswerReader } from "./answer-reader.ts";
import { AnswerWriter } from "./answer-writer.ts";
import { BodyReader } from "./body-reader.ts";
import type { OnData } from "./chunked.ts";
import { BODY } from "./framing.ts";
import { HeldBody } from "./held-body.ts";
import { Http2Request, type StreamAnswerTaker } from "./http2-request.ts";
import type { PassageEngine, PassageOwner } from "./passage-owner.ts";
import type { RequestHop, RequestReader } from "./request-reader.ts";
import { detailOf, refusalOf, type StrictnessRule } from "./strictness.ts";
import type { AnswerTaker, UpstreamConnection } from "./upstream-connection.ts";
import type { ConnectionTaker, UpstreamPool } from "./upstream-pool.ts";
import { trailerSection } from "./write-head.ts";

const PHASE = {
  none: 0,
  /** The stage list was asked. */
  deciding: 1,
  /** The body is held until it is known whole. */
  holding: 2,
  /** A connection to the upstream was asked for. */
  connecting: 3,
  /** The request goes one way, the answer the other. */
  open: 4,
  tunnel: 5,
} as const;
type Phase = (typeof PHASE)[keyof typeof PHASE];

/** Takes one client's requests to their upstreams, one after the other. */
export class Passage implements ConnectionTaker, AnswerTaker, StreamAnswerTaker {
  readonly body = new BodyReader();
  readonly answer: AnswerWriter;
  readonly #owner: PassageOwner;
  readonly #engine: PassageEngine;
  readonly #handler: HttpHandler;
  readonly #wire: Wire;
  #phase: Phase = PHASE.none;
  /** Set exactly while a request is under way. */
  #request: RequestReader | null = null;
  /** Set exactly from the stage list's decision to `finish`. */
  #exchange: Exchange | null = null;
  /** Set exactly while the request is on a connection. */
  #upstream: UpstreamConnection | null = null;
  #pool: UpstreamPool | null = null;
  /** Set exactly while the request is with an upstream that speaks HTTP/2, from the wait for a stream on. */
  #translated: Http2Request | null = null;
  /** Set for a request whose body is held, and the upstream that it waits for. */
  #held: HeldBody | null = null;
  #target: Upstream | null = null;
  #isRetried = false;
  /** The protocols that the request asks to switch to; empty for none. */
  #upgradeTo = "";

  constructor(owner: PassageOwner, engine: PassageEngine) {
    this.#owner = owner;
    this.#engine = engine;
    this.#handler = owner.served.handler;
    this.#wire = owner.wire;
    this.answer = new AnswerWriter(owner.wire, this.#handler);
  }

  get method(): string {
    return this.#request?.method ?? "";
  }

  get asksForTunnel(): boolean {
    return this.#upgradeTo !== "" || this.method === "CONNECT";
  }

  get isTunnel(): boolean {
    return this.#phase === PHASE.tunnel;
  }

  // The stages.

  /** Begins with a request whose head is read. */
  begin(request: RequestReader): void {
    this.#request = request;
    this.body.begin(request.bodyKind, request.framing.length);
    this.answer.begin(request.method, request.isHttp10, request.isPersistent);
    this.#isRetried = false;
    this.#upgradeTo = this.body.isDone ? request.upgradeTo : "";
    this.#phase = PHASE.deciding;
    this.#handler.request(this.#owner.served.context, request, this.#onDecision);
  }

  readonly #onDecision = (exchange: Exchange, decision: Decision): void => {
    this.#exchange = exchange;
    exchange.giveUp = this.#giveUp;
    // The client left while the stages were waiting for a look-up.
    if (this.#phase !== PHASE.deciding) return this.#finish();
    if (decision.kind === "refuse") this.#refuse(decision.refusal);
    else if (decision.body === "verify") this.#hold(decision.upstream);
    else this.#connect(decision.upstream);
    this.#owner.onMoved();
  };

  /** The exchange's time is over. */
  readonly #giveUp = (refusal: Refusal): void => {
    if (this.#exchange === null) return;
    this.#fail(refusal);
    this.#owner.onMoved();
  };

  /** Takes what it can of bytes[at..end), all of the request's body; returns how far, or -1 when nothing can be taken now. */
  take(bytes: Buffer, at: number, end: number): number {
    if (this.#phase === PHASE.tunnel) return this.#forwardTunnel(bytes, at, end);
    if (this.body.isDone) return -1;
    if (this.#phase === PHASE.open) return this.#forwardBody(bytes, at, end);
    return this.#phase === PHASE.holding ? this.#holdBody(bytes, at, end) : -1;
  }

  #hold(upstream: Upstream): void {
    this.#held = new HeldBody();
    this.#target = upstream;
    this.#phase = PHASE.holding;
    if (this.#request?.framing.expectContinue === true) putText(this.#wire, "HTTP/1.1 100 Continue\r\n\r\n");
    if (this.body.isDone) this.#check();
  }

  #holdBody(bytes: Buffer, at: number, end: number): number {
    const held = this.#held as HeldBody; // set while holding
    const next = this.body.advance(bytes, at, end, held.addContent);
    if (next === -1) return this.#refuseBody(end);
    held.addRaw(bytes, at, this.body.passTo);
    if (held.contentBytes > HELD_BODY_BYTES) this.#refuse(refuse("signature_invalid", `body larger than ${HELD_BODY_BYTES} bytes`));
    else if (this.body.isDone) this.#check();
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
    this.#owner.watch.moved();
    this.#translated = null;
    if (upstream.protocol === "http2") return this.#connectHttp2(upstream);
    if (this.#pool === null || this.#pool.upstream !== upstream || this.#pool.isClosed) this.#pool = this.#engine.poolFor(upstream);
    const connection = this.#pool.take(this);
    if (connection !== null) this.#send(connection);
  }

  onConnection(connection: UpstreamConnection): void {
    this.#send(connection);
    this.#owner.onMoved();
  }

  onNoConnection(failure: Refusal): void {
    const next = failure.reason === "overloaded" ? null : this.#handler.another(this.#exchange as Exchange, failure);
    if (next === null) this.#refuse(failure);
    else this.#connect(next);
    this.#owner.onMoved();
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
    (this.#request as RequestReader).put(connection.wire, exchange.edit, this.#hop(exchange));
    if (this.#held !== null) this.#sendHeld(connection.wire, this.#held.raw());
  }

  #hop(exchange: Exchange): RequestHop {
    const isConnect = exchange.method === "CONNECT";
    const isUsual = !exchange.isPathSettledAnew && this.#upgradeTo === "" && !isConnect && exchange.authority !== "" && this.#held === null;
    if (isUsual) return AS_IT_CAME;
    const target = isConnect ? exchange.authority : exchange.isPathSettledAnew ? exchange.path : null;
    // An HTTP/1.0 client need not name a host; the app's side is HTTP/1.1 and must be told one.
    const host = exchange.authority === "" ? exchange.endpointAddress : null;
    return { target, host, upgradeTo: this.#upgradeTo, expects: this.#held === null };
  }

  #sendHeld(wire: Wire, raw: Buffer): void {
    putBytes(wire, raw, 0, raw.length);
    this.#forwardTrailers(wire);
  }

  #forwardBody(bytes: Buffer, at: number, end: number): number {
    if (this.#translated !== null) return this.#translateBody(this.#translated, bytes, at, end);
    const { wire } = this.#upstream as UpstreamConnection; // set while open
    const next = this.body.advance(bytes, at, end, null);
    if (next === -1) return this.#refuseBody(end);
    putBytes(wire, bytes, at, this.body.passTo);
    if (this.body.isDone) this.#forwardTrailers(wire);
    if (wire.isBlocked) this.#wire.pause();
    return next;
  }

  #forwardTrailers(wire: Wire): void {
    if (this.body.kind === BODY.chunked) putText(wire, trailerSection(this.#handler.trailers(this.body.trailers)));
  }

  /** A body that turned out to be none: nothing behind it can be trusted. */
  #refuseBody(end: number): number {
    this.answer.isPersistent = false;
    this.#refuse(refusalOf(this.body.flaw as StrictnessRule)); // set when a body can't be followed
    return end;
  }

  /** True while the upstream takes no more: the client is not to be read. */
  get isUpstreamBlocked(): boolean {
    return this.#upstream !== null ? this.#upstream.wire.isBlocked : this.#translated?.isBlocked === true;
  }

  /** True while the client takes no more. */
  get isClientBlocked(): boolean {
    return this.#wire.isBlocked;
  }

  onUpstreamDrain(): void {
    this.#owner.watch.moved();
    this.#owner.onMoved();
  }

  /** The client takes more again. */
  onClientDrain(): void {
    this.#upstream?.wire.resume();
    this.#translated?.onClientDrain();
  }

  onUpstreamLost(wasSilent: boolean): void {
    const upstream = this.#upstream;
    this.#upstream = null;
    if (this.#phase === PHASE.tunnel) return this.#break();
    if (wasSilent && upstream !== null && this.#mayBeSentAgain(upstream)) {
      this.#isRetried = true;
      this.#phase = PHASE.connecting;
      this.#owner.watch.moved(); // how long the dead connection was silent is not this one's fault
      this.#pool?.takeNew(this);
      return;
    }
    this.#fail(refuse("upstream_reset", wasSilent ? "the connection ended before an answer" : detailOf("answer_cut_off")));
    this.#owner.onMoved();
  }

  /** A pooled connection that its owner was just closing: what can be sent again without harm is, once (RFC 9112 section 9.3.1). */
  #mayBeSentAgain({ requests, wire }: UpstreamConnection): boolean {
    const request = this.#request as RequestReader; // set while under way
    const isHarmless = wire.isUnprocessed || (requests > 1 && request.isIdempotent);
    return !this.#isRetried && !this.answer.isBegun && isHarmless && request.bodyKind === BODY.none;
  }

  // The answer.

  onInterim(answer: AnswerHead): void {
    this.answer.interim(answer);
  }

  onAnswerHead(answer: AnswerHead, body: AnswerBody): void {
    this.#owner.watch.moved();
    if (this.#isSentAgain(answer)) return;
    const edit = this.#handler.response(this.#exchange as Exchange, answer.status, answer.fields);
    if (this.#isLast()) this.answer.isPersistent = false;
    this.answer.head(answer, edit, body);
  }

  /** An answer that somebody else might give better is dropped, and its connection with it. Only for requests without a body: a body was not kept. */
  #isSentAgain({ status, fields }: AnswerHead): boolean {
    if (this.#request?.bodyKind !== BODY.none) return false;
    const retry = this.#handler.retryAnswer(this.#exchange as Exchange, status, fields);
    if (retry === null) return false;
    this.#leaveUpstream();
    this.#connect(retry.upstream); // `afterMs` is 0: only gRPC servers ask for a wait
    return true;
  }

  /** True when no request can follow: the sidecar drains, or whether a client that waits for a 100 sends its body now is anyone's guess. */
  #isLast(): boolean {
    const awaits100 = !this.body.isDone && this.#request?.framing.expectContinue === true;
    return awaits100 || this.#engine.isLeaving(this.#owner.served.context);
  }

  get onAnswerContent(): OnData | null {
    return this.answer.onContent;
  }

  onAnswerBytes(bytes: Buffer, start: number, end: number): void {
    if ((this.#exchange as Exchange).idleTimeoutMs > 0) this.#owner.watch.moved(); // else only the client's side is watched
    this.answer.bytes(bytes, start, end);
    if (this.#wire.isBlocked) this.#upstream?.wire.pause();
  }

  onAnswerEnd(connection: UpstreamConnection, body: BodyReader): void {
    this.answer.end(body);
    this.#upstream = null;
    // One whose request is not whole yet would take the next request for the rest of its body.
    if (this.body.isDone) this.#pool?.release(connection);
    else connection.destroy();
    this.#complete();
    this.#owner.onMoved();
  }

  // Upstreams that speak HTTP/2: what differs.

  /** gRPC needs a client that speaks HTTP/2 as well, and so is refused by the seal. There are no tunnels: an offer to upgrade is ignored (RFC 9110 section 7.8). */
  #connectHttp2(upstream: Upstream): void {
    if (this.method === "CONNECT") return this.#refuse(NO_TUNNEL);
    this.#translated = new Http2Request(this, this.#handler, this.body);
    this.#translated.connect(this.#engine.http2PoolFor(upstream));
  }

  onStreamReady(translated: Http2Request, connection: Http2Connection): void {
    const exchange = this.#exchange as Exchange; // set since the decision
    const refusal = this.#handler.seal(exchange, null, null);
    if (refusal !== null) this.#refuse(refusal);
    else {
      this.#phase = PHASE.open;
      translated.send(connection, this.#request as RequestReader, exchange, this.#held?.content() ?? null);
    }
    this.#owner.onMoved();
  }

  #translateBody(translated: Http2Request, bytes: Buffer, at: number, end: number): number {
    const next = translated.forward(bytes, at, end);
    if (next === -1) return this.#refuseBody(end);
    if (translated.isBlocked) this.#wire.pause();
    return next;
  }

  onStreamAnswered(body: AnswerBody): void {
    this.answer.end(body);
    this.#leaveUpstream();
    this.#complete();
    this.#owner.onMoved();
  }

  onStreamLost(failure: Refusal, isUnprocessed: boolean): void {
    const isWhole = this.#held !== null || this.#translated?.hasSentContent === false;
    const isUnseen = isUnprocessed && !this.answer.isBegun;
    const next = isUnseen && isWhole ? this.#handler.another(this.#exchange as Exchange, failure) : null;
    if (next === null) this.#fail(isUnseen ? refusedUnseen(failure) : failure);
    else this.#connect(next);
    this.#owner.onMoved();
  }

  onAnswerFlaw(rule: StrictnessRule): void {
    this.#upstream = null;
    this.#fail(refuse("upstream_reset", detailOf(rule)));
    this.#owner.onMoved();
  }

  /** The exchange can't go on. An answer that has begun can only be cut off, so that nobody takes it for whole. */
  #fail(refusal: Refusal): void {
    if (!this.answer.isBegun) return this.#refuse(refusal);
    if (this.#exchange !== null) this.#exchange.refusal ??= refusal;
    this.#break();
  }

  /** Answers by itself. */
  #refuse(refusal: Refusal): void {
    if (this.answer.isBegun) return this.#fail(refusal);
    const exchange = this.#exchange as Exchange; // set since the decision
    this.#leaveUpstream();
    exchange.refusal = refusal;
    if (exchange.grpc) exchange.grpcStatus = RESCUE[refusal.reason].grpcStatus;
    if (RESCUE[refusal.reason].close || this.#isLast()) this.answer.isPersistent = false;
    exchange.status = this.answer.refusal(refusal, { grpc: exchange.grpc, told: this.#owner.served.context.peer.told });
    this.#complete();
  }

  // How it ends.

  #complete(): void {
    this.#finishWhenWritten();
    this.#end();
    this.#owner.onPassed(this.answer.isPersistent);
  }

  #end(): void {
    this.#phase = PHASE.none;
    this.#request = null;
    this.#held = null;
    this.#target = null;
  }

  /** A slow reader's exchange is in flight until its last byte is through: a drain waits for it. */
  #finishWhenWritten(): void {
    flush();
    const exchange = this.#exchange;
    if (exchange === null || this.#wire.isThrough) return this.#finish();
    this.#exchange = null;
    exchange.giveUp = null; // this passage may have another exchange by then
    this.#owner.keepHead();
    this.#wire.whenThrough(() => this.#handler.finish(exchange));
  }

  #finish(): void {
    const exchange = this.#exchange;
    this.#exchange = null;
    if (exchange !== null) this.#handler.finish(exchange);
  }

  #break(): void {
    this.stop();
    this.#owner.onBroken();
  }

  /** Gives up whatever is under way: the client is gone, or is about to be. Idempotent. A decision that is still awaited finishes its exchange then. */
  stop(): void {
    const isAwaited = this.#phase === PHASE.deciding;
    this.#leaveUpstream();
    this.#end();
    if (!isAwaited) this.#finish();
  }

  #leaveUpstream(): void {
    if (this.#phase === PHASE.connecting) this.#pool?.cancel(this);
    this.#upstream?.destroy();
    this.#upstream = null;
    this.#translated?.leave();
    this.#translated = null;
  }

  // Tunnels.

  onSwitched(answer: AnswerReader): void {
    const edit = this.#handler.response(this.#exchange as Exchange, answer.status, answer.fields);
    this.#phase = PHASE.tunnel;
    this.answer.switched(answer, edit, answer.status === 101 ? answer.framing.upgradeTo || this.#upgradeTo : "");
    this.#owner.onMoved();
  }

  #forwardTunnel(bytes: Buffer, at: number, end: number): number {
    const { wire } = this.#upstream as UpstreamConnection; // set for as long as the tunnel is
    putBytes(wire, bytes, at, end);
    if (wire.isBlocked) this.#wire.pause();
    return end;
  }

  onTunnelBytes(bytes: Buffer, start: number, end: number): void {
    this.#owner.watch.moved();
    putBytes(this.#wire, bytes, start, end);
    if (this.#wire.isBlocked) this.#upstream?.wire.pause();
  }

  onTunnelEnd(): void {
    flush();
    this.#wire.end();
  }

  onTunnelOver(): void {
    this.#upstream = null;
    this.#finish();
    this.#end();
    this.#owner.onTunnelOver();
  }

  /** The client ended its side of the tunnel. */
  endTunnel(): void {
    flush();
    this.#upstream?.wire.end();
  }

  /** The client's connection is over in order, both ways: the upstream is left to read what it was sent. */
  leaveTunnel(): void {
    this.#upstream?.endSoon();
    this.#upstream = null;
    this.#finish();
    this.#end();
  }

  // Waiting.

  /** Looks at how long things have taken; called by the engine's sweep. */
  check(waitedMs: number): void {
    const { stallMs, queueMs, tunnelIdleMs, discardMs } = this.#engine.timeouts;
    switch (this.#phase) {
      case PHASE.holding:
        if (waitedMs >= stallMs) this.#refuse(TOO_SLOW);
        break;
      case PHASE.connecting:
        if (waitedMs >= queueMs) this.#refuse(refuse("overloaded", `no connection within ${queueMs} ms`));
        break;
      case PHASE.open:
        if (this.#translated?.isEndDue === true && waitedMs >= discardMs) this.#translated.endNow();
        else if (this.#isStalled() && waitedMs >= stallMs) this.#giveUpStalled();
        else this.#checkIdle();
        break;
      case PHASE.tunnel:
        if (tunnelIdleMs > 0 && waitedMs >= tunnelIdleMs) this.#break();
        break;
    }
  }

  /** A reader that takes nothing, or a sender that owes a body and sends none. An upstream that thinks about its answer is not slow here. */
  #isStalled(): boolean {
    const upstream = this.isUpstreamBlocked ? (this.#upstream?.wire ?? this.#translated) : null;
    const blocked = this.#wire.isBlocked ? this.#wire : upstream;
    return !this.#owner.watch.isMoving(blocked) && (blocked !== null || !this.body.isDone || this.#owner.isOverfull);
  }

  /** The route's own bound; looked at with each sweep. */
  #checkIdle(): void {
    const { idleTimeoutMs } = this.#exchange as Exchange; // set while open
    if (idleTimeoutMs > 0 && this.#owner.watch.waitedMs >= idleTimeoutMs)
      this.#fail(refuse("timeout", `nothing moved for ${idleTimeoutMs} ms`));
  }

  #giveUpStalled(): void {
    if (this.#wire.isBlocked) this.#fail(refuse("timeout", "the client does not read its answer"));
    else if (this.#owner.isOverfull) this.#fail(refuse("timeout", "the client sends further requests, and this one has no answer"));
    else this.#fail(this.isUpstreamBlocked ? refuse("timeout", "the upstream does not read the request") : TOO_SLOW);
  }
}

const AS_IT_CAME: RequestHop = { target: null, host: null, upgradeTo: "", expects: true };

const NO_TUNNEL = refuse("bad_request", "a CONNECT to a port that speaks HTTP/2", [], 501);

/** A request that does not come. */
export const TOO_SLOW = refuse("timeout", "the request did not come in time", [], 408);
