// One request of HTTP/2 on its way: from the stage list's decision over a stream to the upstream to the last frame of the answer (design 4). Owns the exchange and
// both streams' parts in it; the windows and what waits for them are the streams' own, so that backpressure needs nothing from here.
//
// HOT PATH: per request one head written each way, per piece of DATA one call. No promise and no timer per request.
import type { Clock } from "../../core/clock.ts";
import { FIELD } from "../../core/field-kind.ts";
import {
  type Decision,
  HELD_BODY_BYTES,
  type HttpHandler,
  type Retry,
  type ServedConnection,
  type Upstream,
  type UpstreamConnection as Dialled,
} from "../engine.ts";
import { type Exchange, type Refusal, refuse } from "../exchange.ts";
import { FlatFields, flattened, type HeadEdit, NO_EDIT } from "../fields.ts";
import { grpcStatusOfHead, noteGrpcStatus } from "../grpc-status.ts";
import { refusedUnseen } from "../upstream-failure.ts";
import { H2_ERROR } from "./frames.ts";
import { type HeaderList, MAX_HEADER_LIST_BYTES } from "./header-list.ts";
import type { HeaderEntry } from "./hpack/header-entry.ts";
import { flawForHttp1, Http1Call } from "./http1-call.ts";
import { answerRefusal, endWithStatus } from "./local-answer.ts";
import { contentLengthOf, type Http2RequestHead, MALFORMED_LENGTH } from "./request-head.ts";
import { RequestBody } from "./request-body.ts";
import { writeRequest } from "./request-writer.ts";
import { Stream, type StreamTaker, type UpstreamSide } from "./stream.ts";
import type { UpstreamPool as Http1Pool } from "../http1/upstream-pool.ts";
import type { UpstreamConnection } from "./upstream-connection.ts";
import type { ConnectionTaker, UpstreamPool } from "./upstream-pool.ts";

/** How long the end of a request body is waited for, so that a unary message can be digested (design 9), ms. */
const UNARY_WAIT_MS = 2;
/** How long a client may go on with its request after the whole answer, ms. */
const ANSWERED_MS = 2_000;

/** How long things may take, ms. */
export interface Http2Timeouts {
  /** A client that has not said that it speaks HTTP/2. */
  readonly headMs: number;
  /** A peer that takes nothing of what is there for it. */
  readonly stallMs: number;
  /** A request that waits for a connection to its upstream. */
  readonly queueMs: number;
  /** The rest of a body whose request was answered here. */
  readonly discardMs: number;
}

/** What a passage needs of the engine. */
export interface PassageEngine {
  readonly timeouts: Http2Timeouts;
  readonly clock: Clock;
  readonly nowMonoMs: number;
  poolFor(upstream: Upstream): UpstreamPool;
  /** The pool of an upstream that speaks HTTP/1.1. */
  http1PoolFor(upstream: Upstream): Http1Pool;
  monoMs(): number;
}

/** The client connection that a passage is of. */
export interface PassageOwner {
  readonly served: ServedConnection;
  /** Calls {@link Passage.holdOn} when all that came with the head is taken. */
  holdLater(passage: Passage): void;
  hold(bytes: number): void;
  release(bytes: number): void;
}

const PHASE = {
  /** The stage list was asked. */
  deciding: 0,
  /** The body is held until it is known whole, or long enough. */
  holding: 1,
  /** A connection to the upstream was asked for, or a wait for another attempt is under way. */
  connecting: 2,
  /** The request goes one way, the answer the other. */
  open: 3,
  over: 4,
} as const;
type Phase = (typeof PHASE)[keyof typeof PHASE];

/** Takes one request to its upstream. */
export class Passage implements StreamTaker, ConnectionTaker {
  readonly client: Stream;
  readonly #owner: PassageOwner;
  readonly #engine: PassageEngine;
  readonly #handler: HttpHandler;
  #head: Http2RequestHead | null = null;
  #phase: Phase = PHASE.deciding;
  /** Set exactly from the stage list's decision to `finish`. */
  #exchange: Exchange | null = null;
  readonly #body: RequestBody;
  /** Set while the request is on a stream: from `open` on until that is reset, or left. */
  #upstream: UpstreamSide | null = null;
  /** Whom a connection was asked of last. */
  #pool: { cancel(taker: Passage): void } | null = null;
  /** Where the request goes once its body is held, and what for. */
  #target: Upstream | null = null;
  #isToBeVerified = false;
  #isAnswered = false;
  /** What the interim answers count as, in octets. */
  #interimBytes = 0;
  /** Since when it waits for a body that is held, for a connection, or for its client to end after the answer, monotonic ms of the sweep. */
  #sinceMonoMs: number;
  #waiting: { cancel(): void } | null = null;

  constructor(owner: PassageOwner, client: Stream, engine: PassageEngine) {
    this.#owner = owner;
    this.client = client;
    this.#engine = engine;
    this.#handler = owner.served.handler;
    this.#body = new RequestBody(owner, client.isRemoteEnded);
    this.#sinceMonoMs = engine.nowMonoMs;
  }

  /** True for a request that came less than `ms` ago. */
  isYoungerThan(ms: number): boolean {
    return this.#exchange === null || this.#engine.monoMs() - this.#exchange.startedMonoMs < ms;
  }

  // The stages.

  begin(head: Http2RequestHead): void {
    this.#head = head;
    this.#handler.request(this.#owner.served.context, head, (exchange, decision) => this.#onDecision(exchange, decision));
  }

  #onDecision(exchange: Exchange, decision: Decision): void {
    this.#exchange = exchange;
    exchange.giveUp = (refusal) => this.#giveUp(refusal);
    // The client left while the stages were waiting for a look-up.
    if (this.#phase === PHASE.over) return this.#finish();
    if (decision.kind === "refuse") this.#refuse(decision.refusal);
    else if (decision.body === "stream" || (decision.body === "sign" && this.#body.isWhole)) this.#connect(decision.upstream);
    else this.#hold(decision.upstream, decision.body === "verify");
  }

  #hold(upstream: Upstream, isToBeVerified: boolean): void {
    this.#phase = PHASE.holding;
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    this.#target = upstream;
    this.#isToBeVerified = isToBeVerified;
    if (this.#body.isWhole) this.#onHeld();
    else if (isToBeVerified) this.#checkHeld();
    else this.#owner.holdLater(this);
  }

  /** The body did not come with its head: it has a moment more. */
  holdOn(): void {
    if (this.#phase !== PHASE.holding) return;
    this.#waiting = this.#engine.clock.after(UNARY_WAIT_MS, () => {
      if (this.#phase === PHASE.holding) this.#onHeld();
    });
  }

  #onHeld(): void {
    this.#waiting?.cancel();
    this.#waiting = null;
    if (this.#isToBeVerified) {
      const refusal = this.#handler.checkBody(this.#exchange as Exchange, this.#body.whole());
      if (refusal !== null) return this.#refuse(refusal);
    }
    this.#connect(this.#target as Upstream); // set while holding
  }

  /** What is held: a `verify` body must fit, a `sign` body that does not is a stream. */
  #checkHeld(): void {
    if (this.#body.heldBytes <= HELD_BODY_BYTES) return;
    if (this.#isToBeVerified) this.#refuse(refuse("signature_invalid", `body larger than ${HELD_BODY_BYTES} bytes`));
    else this.#onHeld();
  }

  // The request's content.

  onData(stream: UpstreamSide, bytes: Buffer, start: number, end: number, isEnd: boolean): void {
    if (stream !== this.client) return this.client.sendData(bytes, start, end, isEnd);
    const body = this.#body;
    if (isEnd) body.isWhole = true;
    switch (this.#phase) {
      case PHASE.open:
        body.noteSent(bytes, start, end);
        // None: it has answered whole and wants no more, while the client still reads (RFC 9113 section 8.1).
        if (this.#upstream === null) this.client.credit(end - start);
        else this.#upstream.sendData(bytes, start, end, isEnd);
        return;
      case PHASE.holding:
        if (isEnd && body.isFresh && end - start <= HELD_BODY_BYTES) return this.#lendBody(bytes, start, end);
        body.hold(bytes, start, end);
        if (isEnd) this.#onHeld();
        else this.#checkHeld();
        return;
      case PHASE.over:
        return;
      default:
        body.hold(bytes, start, end);
    }
  }

  /** A whole body in one piece: sent from where it is, when there is a connection. */
  #lendBody(bytes: Buffer, start: number, end: number): void {
    this.#body.lend(bytes, start, end);
    this.#onHeld();
    this.#body.takeBack();
    if (this.#phase === PHASE.connecting) this.#body.hold(bytes, start, end);
  }

  onTrailers(stream: UpstreamSide, trailers: HeaderList): void {
    if (stream !== this.client) return this.#onAnswerTrailers(trailers);
    this.#body.isWhole = true;
    this.#body.trailers = trailers;
    if (this.#phase === PHASE.holding) this.#onHeld();
    else if (this.#phase === PHASE.open && this.#upstream !== null) this.#sendTrailers(this.#upstream, trailers);
  }

  // The upstream.

  #connect(upstream: Upstream): void {
    this.#phase = PHASE.connecting;
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    if (upstream.protocol === "http1") return this.#call(upstream);
    const pool = this.#engine.poolFor(upstream);
    this.#pool = pool;
    const connection = pool.take(this);
    if (connection !== null) this.#send(connection);
  }

  onConnection(connection: UpstreamConnection): void {
    this.#send(connection);
  }

  onNoConnection(failure: Refusal): void {
    const next = failure.reason === "overloaded" ? null : this.#handler.another(this.#exchange as Exchange, failure);
    if (next === null) this.#refuse(failure);
    else this.#connect(next);
  }

  #send(connection: UpstreamConnection): void {
    const exchange = this.#exchange as Exchange; // set since the decision
    if (!this.#seal(exchange, connection.dialled)) return;
    const upstream = connection.open(this);
    const isEnd = this.#begin(upstream);
    writeRequest(connection.heads, upstream.id, (this.#head as Http2RequestHead).fields, exchange, isEnd); // set since `begin`
    if (isEnd) upstream.endLocal();
    else this.#sendBody(upstream);
  }

  /** The upstream speaks HTTP/1.1. */
  #call(upstream: Upstream): void {
    const exchange = this.#exchange as Exchange; // set since the decision
    const flaw = flawForHttp1(exchange);
    if (flaw !== null) return this.#refuse(refuse("bad_request", flaw));
    const call = new Http1Call(this.#engine, this.client.expectedBytes, {
      onReady: (ready) => this.#sendCall(ready),
      onNoConnection: (failure) => this.onNoConnection(failure),
    });
    this.#pool = call;
    call.connect(this.#engine.http1PoolFor(upstream));
  }

  #sendCall(call: Http1Call): void {
    const exchange = this.#exchange as Exchange; // set since the decision
    if (!this.#seal(exchange, null)) return call.reset();
    call.taker = this;
    const isEnd = this.#begin(call);
    call.writeHead((this.#head as Http2RequestHead).fields, exchange, isEnd);
    if (!isEnd) this.#sendBody(call);
  }

  /** Completes the head for the connection that was taken; false when that is refused. */
  #seal(exchange: Exchange, connection: Dialled | null): boolean {
    const body = this.#body;
    const refusal = body.isForgotten
      ? refuse("upstream_reset", "the body to send again was not kept for so long")
      : this.#handler.seal(exchange, connection, body.isWhole ? body.whole() : null);
    if (refusal !== null) this.#refuse(refusal);
    return refusal === null;
  }

  /** Takes a side to the upstream into use; true when the head is all there is to send on it. */
  #begin(upstream: UpstreamSide): boolean {
    this.#upstream = upstream;
    upstream.source = this.client;
    this.#phase = PHASE.open;
    const body = this.#body;
    return body.isWhole && !body.hasContent && body.trailers === null;
  }

  #sendBody(upstream: UpstreamSide): void {
    const { isWhole, trailers } = this.#body;
    const content = this.#body.toSend();
    if (content !== null) upstream.sendData(content, 0, content.length, isWhole && trailers === null);
    if (trailers !== null) this.#sendTrailers(upstream, trailers);
  }

  #sendTrailers(upstream: UpstreamSide, trailers: HeaderList): void {
    upstream.sendTrailers(...this.#edited(trailers));
  }

  /** A trailer section as it may go on. The stages look only at kinds of fields that mean something to them. */
  #edited(trailers: HeaderList): [HeaderList | FlatFields, HeadEdit] {
    if ((trailers.kinds & ~FIELD.grpcStatus) === 0) return [trailers, NO_EDIT];
    return [new FlatFields(this.#handler.trailers(flattened(trailers))), NO_EDIT];
  }

  // The answer.

  onHead(upstream: UpstreamSide, head: HeaderList, isEnd: boolean): void {
    if (!upstream.hasHead) return this.#onInterim(head);
    const exchange = this.#exchange as Exchange; // set since the decision
    const status = Number((head.status as HeaderEntry).value);
    const retry = this.#body.isRepeatable && this.#body.isWhole ? this.#handler.retryAnswer(exchange, status, head) : null;
    if (retry !== null) return this.#again(retry);
    // Whatever the length of these says, there is nothing behind it (RFC 9110 section 6.4.1).
    const isBodiless = exchange.method === "HEAD" || status === 204 || status === 304;
    const length = contentLengthOf(head);
    if (length === MALFORMED_LENGTH || (isEnd && length > 0 && !isBodiless))
      return this.#fail(refuse("upstream_reset", "the answer's content-length is wrong"));
    upstream.expectedBytes = isBodiless ? 0 : length;
    const edit = this.#handler.response(exchange, status, head);
    this.#isAnswered = true;
    this.#body.drop();
    this.client.source = upstream;
    this.client.sendAnswer(head.status as HeaderEntry, head, edit, isEnd);
  }

  /** Heads know no window: without a bound, interim answers would pile up in front of a client that does not read. */
  #onInterim(head: HeaderList): void {
    this.#interimBytes += head.bytes;
    if (this.#interimBytes > MAX_HEADER_LIST_BYTES) this.#refuse(refuse("upstream_reset", "interim answers without end"));
    else this.client.sendAnswer(head.status as HeaderEntry, head, INTERIM_EDIT, false); // checked on arrival
  }

  /** The answer is forgotten and the request sent again. */
  #again({ upstream, afterMs }: Retry): void {
    this.#leaveUpstream(H2_ERROR.cancel);
    if (afterMs === 0) return this.#connect(upstream);
    this.#phase = PHASE.connecting;
    this.#sinceMonoMs = this.#engine.nowMonoMs + afterMs;
    this.#waiting = this.#engine.clock.after(afterMs, () => {
      this.#waiting = null;
      if (this.#phase === PHASE.connecting) this.#connect(upstream);
    });
  }

  #onAnswerTrailers(trailers: HeaderList): void {
    const exchange = this.#exchange as Exchange; // set while an answer comes
    if (exchange.grpc && (trailers.kinds & FIELD.grpcStatus) !== 0) exchange.grpcStatus = grpcStatusOfHead(trailers);
    this.client.sendTrailers(...this.#edited(trailers));
  }

  /** The last frame to the client is written, or the last to the upstream. */
  onSent(stream: UpstreamSide): void {
    if (stream !== this.client) return;
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    this.#finish();
    if (this.client.isClosed) this.#endUpstream();
    // The upstream wants no more of the request: neither do we.
    else if (this.#upstream === null || this.#upstream.isClosed) this.#dismiss();
  }

  /** Both have said all they had to say. What an upstream that answered early has no window for yet, it still gets: its connection sees to that. */
  #endUpstream(): void {
    const upstream = this.#upstream;
    if (!(upstream instanceof Stream) || !upstream.isPending) return this.#leaveUpstream(H2_ERROR.noError);
    upstream.taker = null;
    this.#upstream = null;
  }

  // How it ends.

  onReset(stream: UpstreamSide, code: number, isUnprocessed: boolean, detail = `stream closed with code ${code}`): void {
    if (stream === this.client) return this.#onClientGone(code);
    if (stream !== this.#upstream) return;
    this.#upstream = null;
    if (this.#phase !== PHASE.open) return;
    const reset = refuse("upstream_reset", detail);
    if (!this.#isAnswered && isUnprocessed) this.#onRefused(reset);
    else if (!this.#isAnswered) this.#refuse(reset);
    else if (!stream.isRemoteEnded && stream.isConnectionLost) this.#breakOff(reset, code);
    else if (!stream.isRemoteEnded) this.#break(reset, code === H2_ERROR.noError ? H2_ERROR.internalError : code);
    else if (this.client.isLocalEnded) this.#dismiss();
  }

  /** The upstream has not looked at the request: it may be sent again, here or elsewhere, if it is still here whole. */
  #onRefused(reset: Refusal): void {
    const body = this.#body;
    const isKept = body.isRepeatable && !body.isForgotten;
    const next = isKept ? this.#handler.another(this.#exchange as Exchange, reset) : null;
    if (next === null) this.#refuse(refusedUnseen(reset));
    else this.#connect(next);
  }

  #onClientGone(code: number): void {
    this.#phase = PHASE.over;
    this.#waiting?.cancel();
    this.#pool?.cancel(this);
    this.#leaveUpstream(code === H2_ERROR.noError ? H2_ERROR.cancel : code);
    this.#body.drop();
    this.#finish();
  }

  /** The answer can't go on: only a reset says so. */
  #break(refusal: Refusal, code: number): void {
    if (this.#exchange !== null) this.#exchange.refusal ??= refusal;
    this.#phase = PHASE.over;
    this.#leaveUpstream(H2_ERROR.cancel);
    this.client.reset(code);
    this.#finish();
  }

  /**
   * The answer was cut off, and not by a reset of the app's own. A call of gRPC ends with the status that its library would give it had it lost the connection
   * itself; anything else has only a reset, which gRPC would take for a cancellation.
   */
  #breakOff(refusal: Refusal, code: number): void {
    const exchange = this.#exchange;
    if (exchange === null || !exchange.grpc) return this.#break(refusal, code);
    exchange.refusal ??= refusal;
    this.#phase = PHASE.over;
    this.#leaveUpstream(H2_ERROR.cancel);
    noteGrpcStatus(exchange, endWithStatus(this.client, refusal));
    this.#finish();
  }

  #fail(refusal: Refusal): void {
    if (this.#isAnswered) this.#break(refusal, H2_ERROR.internalError);
    else this.#refuse(refusal);
  }

  #giveUp(refusal: Refusal): void {
    if (this.#phase === PHASE.over) return;
    if (!this.#isAnswered) this.#refuse(refusal);
    // Trailers would wait behind what the client does not read.
    else if (this.client.isPending) this.#break(refusal, H2_ERROR.cancel);
    else this.#breakOff(refusal, H2_ERROR.cancel);
  }

  /** Answers by itself. */
  #refuse(refusal: Refusal): void {
    const exchange = this.#exchange as Exchange; // set since the decision
    this.#phase = PHASE.over;
    this.#waiting?.cancel();
    this.#pool?.cancel(this);
    this.#leaveUpstream(H2_ERROR.cancel);
    this.#body.drop();
    exchange.refusal = refusal;
    const { told } = this.#owner.served.context.peer;
    const answer = answerRefusal(this.client, refusal, { grpc: exchange.grpc, told, isHead: exchange.method === "HEAD" });
    exchange.status = answer.status;
    noteGrpcStatus(exchange, answer.headers);
    this.#finish();
  }

  #leaveUpstream(code: number): void {
    const upstream = this.#upstream;
    this.#upstream = null;
    if (upstream === null) return;
    upstream.taker = null;
    upstream.reset(code);
  }

  /** The answer is through and the upstream has closed: the rest of the request has nowhere to go (RFC 9113 section 8.1). */
  #dismiss(): void {
    this.#phase = PHASE.over;
    this.client.taker = null;
    this.client.reset(H2_ERROR.noError);
  }

  #finish(): void {
    const exchange = this.#exchange;
    this.#exchange = null;
    if (exchange !== null) this.#handler.finish(exchange);
  }

  /** Looks at how long things have taken; called by the sweep. */
  check(nowMonoMs: number): void {
    const { timeouts } = this.#engine;
    const { client } = this;
    const upstream = this.#upstream;
    if (this.#phase === PHASE.connecting && nowMonoMs - this.#sinceMonoMs >= timeouts.queueMs)
      return this.#refuse(refuse("timeout", "no connection to the upstream in time"));
    // Who announces the digest of a body has it: this one was to come at once.
    if (this.#phase === PHASE.holding && nowMonoMs - this.#sinceMonoMs >= timeouts.stallMs)
      return this.#refuse(refuse("timeout", "the body to be verified did not come in time"));
    if (client.isLocalEnded) {
      if (nowMonoMs - this.#sinceMonoMs >= ANSWERED_MS) this.#endUnfinished();
      return;
    }
    const movedMonoMs = upstream === null ? client.movedMonoMs : Math.max(client.movedMonoMs, upstream.movedMonoMs);
    const stillMs = nowMonoMs - movedMonoMs;
    const idleMs = this.#exchange?.idleTimeoutMs ?? 0;
    if (idleMs > 0 && stillMs >= idleMs) this.#giveUp(refuse("timeout", `nothing moved for ${idleMs} ms`));
    else if (client.isPending && nowMonoMs - client.movedMonoMs >= timeouts.stallMs)
      this.#fail(refuse("timeout", "the client does not read its answer"));
    else if (upstream?.isPending === true && nowMonoMs - upstream.movedMonoMs >= timeouts.stallMs)
      this.#fail(refuse("timeout", "the upstream does not read the request"));
    else if (this.#isBodyDue && stillMs >= timeouts.stallMs) this.#refuse(refuse("timeout", "the client sends nothing of its request"));
  }

  /** True while nothing but the rest of the request can come. Streams of gRPC, and those that were answered already, may rest for as long as they like. */
  get #isBodyDue(): boolean {
    const exchange = this.#exchange;
    return exchange !== null && !this.#body.isWhole && !this.#isAnswered && !exchange.grpc && exchange.method !== "CONNECT";
  }

  /** The client goes on sending after the whole answer. */
  #endUnfinished(): void {
    this.#leaveUpstream(H2_ERROR.noError);
    this.#dismiss();
  }
}

/** Interim answers say nothing of the mesh, and nothing of a connection. */
const INTERIM_EDIT: HeadEdit = Object.freeze({
  strip: FIELD.hopByHop | FIELD.te | FIELD.mesh | FIELD.identity | FIELD.contentLength,
  nominated: null,
  added: [],
  standing: null,
});
