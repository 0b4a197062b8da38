// One connection from a client: reads its requests, one after the other, runs the stage list for each, forwards it to an upstream and its answer back
// (design 4). Requests that are pipelined wait in the socket. Owns the exchange from its head to its last byte; which upstream it goes to is the stage
// list's word, which connection to it the pool's.
//
// HOT PATH: per request one scan of each head, one write each way; per chunk of a body one call each. No promise, no timer and no closure per request:
// waiting is watched by the engine's sweep. Bytes that nobody can take yet are held, at most one read and what TLS had decrypted; then reading pauses.
import type { Exchange, Refusal } from "../exchange.ts";
import { refuse } from "../exchange.ts";
import { type Decision, HELD_BODY_BYTES, type HttpHandler, type ServedConnection, type Upstream } from "../engine.ts";
import { answerFor, RESCUE } from "../rescue.ts";
import { giveBack } from "../transport/fast-read.ts";
import { flush, putBytes, putText } from "../transport/outgoing.ts";
import { Wire, type WireOwner } from "../transport/wire.ts";
import type { AnswerReader } from "./answer-reader.ts";
import { BodyReader } from "./body-reader.ts";
import { BODY } from "./framing.ts";
import { HeldBody } from "./held-body.ts";
import { RequestReader } from "./request-reader.ts";
import { endOfHead, flawOfUnfinished } from "./scan.ts";
import { STRICTNESS, LIMITS, type StrictnessRule } from "./strictness.ts";
import type { AnswerTaker, UpstreamConnection } from "./upstream-connection.ts";
import type { ConnectionTaker, UpstreamPool } from "./upstream-pool.ts";
import { answerHead, type HopFields, ownAnswerHead, requestHead, trailerSection } from "./write-head.ts";

/** How long each kind of waiting may take, ms. */
export interface Http1Timeouts {
  /** A whole request head, from its first byte (408 after it). */
  readonly headMs: number;
  /** A peer that neither sends what is due nor takes what is there. */
  readonly stallMs: number;
  /** A client's connection between requests. */
  readonly keepAliveMs: number;
  /** A request that waits for a connection beyond the upstream's bound. */
  readonly queueMs: number;
  /** A tunnel on which nothing moves. */
  readonly tunnelIdleMs: number;
  /** The rest of a body whose request was answered already. */
  readonly discardMs: number;
  /** A peer that was sent its last answer and does not close. */
  readonly lingerMs: number;
}

/** What a client's connection needs of its engine. */
export interface Http1Engine {
  readonly timeouts: Http1Timeouts;
  /** The instant of the last sweep, monotonic ms: exact enough to tell who has waited for seconds. */
  readonly nowMonoMs: number;
  poolFor(upstream: Upstream): UpstreamPool;
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
  /** Sent its last answer; what still comes is thrown away. */
  over: 7,
} as const;
type Phase = (typeof PHASE)[keyof typeof PHASE];

/** Most of a head that is made a text at first; longer ones are read whole. */
const FIRST_LOOK_BYTES = 2048;

/** Serves one client. */
export class ClientConnection implements WireOwner, ConnectionTaker, AnswerTaker {
  readonly served: ServedConnection;
  readonly #wire: Wire;
  readonly #engine: Http1Engine;
  readonly #handler: HttpHandler;
  readonly #request = new RequestReader();
  readonly #body = new BodyReader();
  #phase: Phase = PHASE.head;
  /** When the current kind of waiting began, or last moved. */
  #sinceMonoMs: number;
  /** Bytes the client's stream held when it was last looked at while it was blocked; less at the next look is progress. */
  #blockedBytes = 0;
  /** A head of which not all has come. */
  #headText = "";
  /** Bytes that came while nobody could take them; null for none. */
  #stash: Buffer | null = null;
  /** True while bytes are being taken: what is answered meanwhile goes on in the same loop. */
  #isTaking = false;
  /** The client sent its last byte. */
  #isEnded = false;

  // The current request, from its head to its last byte.
  /** Set exactly from the stage list's decision to `finish`. */
  #exchange: Exchange | null = null;
  #upstream: UpstreamConnection | null = null;
  #pool: UpstreamPool | null = null;
  #held: HeldBody | null = null;
  /** The decision that a held body waits for. */
  #target: Upstream | null = null;
  #isPersistent = true;
  #isAnswerBegun = false;
  #isRetried = false;
  /** How the answer's body leaves, where not as it came: with chunk framing of ours, or without that of the upstream. */
  #reframing: "none" | "add" | "remove" = "none";

  constructor(served: ServedConnection, engine: Http1Engine) {
    this.served = served;
    this.#engine = engine;
    this.#handler = served.handler;
    this.#sinceMonoMs = engine.nowMonoMs;
    this.#wire = new Wire(served.stream, this);
  }

  start(): void {
    this.#wire.start();
  }

  get isIdle(): boolean {
    return this.#phase === PHASE.head && this.#headText === "" && this.#stash === null;
  }

  get method(): string {
    return this.#request.method;
  }

  get asksForTunnel(): boolean {
    return this.#upgradeTo !== "" || this.method === "CONNECT";
  }

  // What comes from the client.

  onBytes(bytes: Buffer, length: number): void {
    this.#sinceMonoMs = this.#headText === "" ? this.#engine.nowMonoMs : this.#sinceMonoMs;
    this.#take(bytes, 0, length);
    flush();
  }

  #take(bytes: Buffer, start: number, end: number): void {
    this.#isTaking = true;
    let at = start;
    while (at < end) {
      if (this.#phase === PHASE.over) break;
      const next = this.#takeSome(bytes, at, end);
      if (next === -1) {
        this.#keep(bytes, at, end);
        break;
      }
      at = next;
    }
    this.#isTaking = false;
    if (this.#isEnded && this.#stash === null) this.#onAllTaken();
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
      case PHASE.tunnel: {
        const { wire } = this.#upstream as UpstreamConnection; // set for as long as the tunnel is
        putBytes(wire, bytes, at, end);
        if (wire.isBlocked) this.#wire.pause();
        return end;
      }
      default:
        return -1;
    }
  }

  #keep(bytes: Buffer, at: number, end: number): void {
    const rest = bytes.subarray(at, end);
    this.#stash = this.#stash === null ? Buffer.from(rest) : Buffer.concat([this.#stash, rest]);
    this.#wire.pause();
  }

  /** Goes on with what was kept, and reads on. */
  #continue(): void {
    if (this.#isTaking) return;
    const kept = this.#stash;
    if (kept !== null) {
      this.#stash = null;
      this.#take(kept, 0, kept.length);
    } else if (this.#isEnded) this.#onAllTaken();
    if (this.#stash === null && !this.#isUpstreamBlocked()) this.#wire.resume();
  }

  #isUpstreamBlocked(): boolean {
    return this.#upstream !== null && this.#upstream.wire.isBlocked;
  }

  #takeHead(bytes: Buffer, at: number, end: number): number {
    const carried = this.#headText.length;
    const looked = Math.min(end, at + FIRST_LOOK_BYTES);
    let text = this.#headText + bytes.toString("latin1", at, looked);
    let headEnd = endOfHead(text, 0, carried);
    if (headEnd === -1 && looked < end) {
      text += bytes.toString("latin1", looked, Math.min(end, at + LIMITS.headBytes + 1));
      headEnd = endOfHead(text, 0, carried);
    }
    if (headEnd === -1 || headEnd > LIMITS.headBytes) {
      const flaw = headEnd === -1 ? this.#flawOfUnfinishedHead(text, carried) : "head_too_large";
      this.#headText = text;
      if (flaw !== null) this.#answerFlawed(flaw);
      return end;
    }
    this.#headText = "";
    const flaw = this.#request.read(text, headEnd);
    if (flaw !== null) {
      this.#answerFlawed(flaw);
      return end;
    }
    this.#begin();
    return at + headEnd - carried;
  }

  #flawOfUnfinishedHead(text: string, carried: number): StrictnessRule | null {
    if (text.startsWith("\r\n")) return "blank_line_before_request";
    if (text.length > LIMITS.targetBytes + LIMITS.methodBytes + 16 && !text.includes("\r\n")) return "target_too_long";
    return flawOfUnfinished(text, 0, carried);
  }

  // The stages.

  #begin(): void {
    const request = this.#request;
    const { framing } = request;
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    this.#body.begin(request.bodyKind, framing.length);
    this.#isPersistent = request.isHttp10 ? framing.keepAlive && !framing.close : !framing.close;
    this.#isAnswerBegun = false;
    this.#isRetried = false;
    this.#reframing = "none";
    this.#upgradeTo = "";
    if (framing.upgrade && framing.upgradeTo !== "" && !request.isHttp10 && this.#body.isDone)
      this.#upgradeTo = protocolsOffered(framing.upgradeTo);
    this.#phase = PHASE.deciding;
    if (request.method === "CONNECT" && this.served.tunnel !== null) return this.#openTunnel(request.authority);
    this.#handler.request(this.served.context, request, this.#onDecision);
  }

  /** The protocol that the request asks to switch to; empty for none. */
  #upgradeTo = "";

  readonly #onDecision = (exchange: Exchange, decision: Decision): void => {
    this.#exchange = exchange;
    // The client left while the stages were waiting for a look-up.
    if (this.#phase !== PHASE.deciding) return this.#finish();
    if (decision.kind === "refuse") this.#answer(decision.refusal);
    else if (decision.body === "verify") this.#hold(decision.upstream);
    else this.#connect(decision.upstream);
    this.#settle();
  };

  /** Ends an event that did not come from the client's own bytes. */
  #settle(): void {
    if (this.#isTaking) return;
    this.#continue();
    flush();
  }

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
    if (held.contentBytes > HELD_BODY_BYTES) this.#answer(refuse("signature_invalid", `body larger than ${HELD_BODY_BYTES} bytes`));
    else if (this.#body.isDone) this.#check();
    return next;
  }

  #check(): void {
    const refusal = this.#handler.checkBody(this.#exchange as Exchange, (this.#held as HeldBody).content());
    if (refusal !== null) this.#answer(refusal);
    else this.#connect(this.#target as Upstream);
  }

  // The upstream.

  #connect(upstream: Upstream): void {
    this.#phase = PHASE.connecting;
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    this.#target = upstream;
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
    if (next === null) this.#answer(failure);
    else this.#connect(next);
    this.#settle();
  }

  #send(connection: UpstreamConnection): void {
    const exchange = this.#exchange as Exchange; // set since the decision
    const refusal = this.#isRetried ? null : this.#handler.seal(exchange, null, this.#held?.content() ?? null);
    if (refusal !== null) {
      this.#pool?.release(connection);
      return this.#answer(refusal);
    }
    connection.begin(this);
    this.#upstream = connection;
    this.#phase = PHASE.open;
    const { wire } = connection;
    const target = exchange.method === "CONNECT" ? exchange.authority : exchange.path;
    const host = exchange.authority === "" ? exchange.endpointAddress : exchange.authority;
    putText(wire, requestHead(exchange.method, target, host, exchange.headers, this.#requestHop()));
    if (this.#held !== null) {
      const raw = this.#held.raw();
      putBytes(wire, raw, 0, raw.length);
      if (this.#body.isDone) this.#forwardTrailers(wire);
    }
    this.#blockedBytes = 0;
  }

  #requestHop(): HopFields {
    const { framing } = this.#request;
    return { kind: this.#request.bodyKind, length: framing.length, upgradeTo: this.#upgradeTo, connection: "" };
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
    const rule = this.#body.flaw as StrictnessRule; // set with -1
    this.#isPersistent = false;
    this.#answer(refusalOf(rule));
    return end;
  }

  onUpstreamDrain(): void {
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    if (this.#stash === null) this.#wire.resume();
  }

  onUpstreamLost(wasSilent: boolean): void {
    const reused = (this.#upstream?.requests ?? 0) > 1;
    this.#upstream = null;
    if (this.#phase === PHASE.tunnel) return this.#abort();
    // A pooled connection that its owner was just closing: what can be sent again without harm is, once (RFC 9112 section 9.3.1).
    if (
      wasSilent &&
      reused &&
      !this.#isRetried &&
      !this.#isAnswerBegun &&
      this.#request.isIdempotent &&
      this.#request.bodyKind === BODY.none
    ) {
      this.#isRetried = true;
      this.#phase = PHASE.connecting;
      this.#pool?.takeNew(this);
      return;
    }
    this.#failAnswer(
      refuse("upstream_reset", wasSilent ? "the connection ended before an answer" : "the answer ended before it was complete"),
    );
    this.#settle();
  }

  // The answer.

  onInterim(answer: AnswerReader): void {
    if (this.#request.isHttp10 || this.#isAnswerBegun) return; // HTTP/1.0 has none (RFC 9110 section 15.2)
    const fields = this.#handler.trailers(answer.headers);
    putText(this.#wire, answerHead(answer.status, answer.reason, fields, NO_HOP_FIELDS));
  }

  onAnswerHead(answer: AnswerReader, body: BodyReader): void {
    const exchange = this.#exchange as Exchange; // set while open
    this.#isAnswerBegun = true;
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    const fields = this.#handler.response(exchange, answer.status, answer.headers);
    const isHttp10 = this.#request.isHttp10;
    if (body.kind === BODY.untilClose && !isHttp10) this.#reframing = "add";
    if (body.kind === BODY.chunked && isHttp10) this.#reframing = "remove";
    const endsWithClose = isHttp10 && (body.kind === BODY.untilClose || body.kind === BODY.chunked);
    const awaitsBody = !this.#body.isDone && this.#request.framing.expectContinue; // whether the client sends it now is anyone's guess
    if (endsWithClose || awaitsBody || this.#engine.isDraining(exchange.direction)) this.#isPersistent = false;
    putText(this.#wire, answerHead(answer.status, answer.reason, fields, this.#answerHop(answer, body)));
  }

  #answerHop(answer: AnswerReader, body: BodyReader): HopFields {
    const connection = this.#isPersistent ? (this.#request.isHttp10 ? "keep-alive" : "") : "close";
    const isChunked = body.kind === BODY.chunked || (body.kind === BODY.none && answer.framing.isChunked);
    const kind = this.#reframing === "add" || (isChunked && this.#reframing === "none") ? BODY.chunked : BODY.none;
    const hasLength = answer.status >= 200 && answer.status !== 204;
    return { kind, length: hasLength ? answer.framing.length : -1, upgradeTo: "", connection };
  }

  onAnswerBytes(bytes: Buffer, start: number, end: number): void {
    const wire = this.#wire;
    if (this.#reframing === "none") putBytes(wire, bytes, start, end);
    else if (this.#reframing === "add") this.#putChunk(bytes, start, end);
    if (wire.isBlocked) this.#upstream?.wire.pause();
  }

  #putChunk(bytes: Buffer, start: number, end: number): void {
    if (end === start) return;
    putText(this.#wire, `${(end - start).toString(16)}\r\n`);
    putBytes(this.#wire, bytes, start, end);
    putText(this.#wire, "\r\n");
  }

  onAnswerEnd(connection: UpstreamConnection, body: BodyReader): void {
    if (this.#reframing === "add") putText(this.#wire, "0\r\n\r\n");
    else if (body.kind === BODY.chunked && this.#reframing === "none")
      putText(this.#wire, trailerSection(this.#handler.trailers(body.trailers)));
    this.#upstream = null;
    // One whose request is not whole yet would take the next request for the rest of its body.
    if (this.#body.isDone) this.#pool?.release(connection);
    else connection.destroy();
    this.#complete();
    this.#settle();
  }

  onAnswerFlaw(rule: StrictnessRule): void {
    this.#upstream = null;
    this.#failAnswer(refuse("upstream_reset", detailOf(rule)));
    this.#settle();
  }

  /** The upstream failed: an answer that has begun can only be cut off, so that nobody takes it for whole. */
  #failAnswer(refusal: Refusal): void {
    if (!this.#isAnswerBegun) return this.#answer(refusal);
    const exchange = this.#exchange as Exchange; // set while open
    exchange.refusal ??= refusal;
    this.#abort();
  }

  /** Answers by itself. */
  #answer(refusal: Refusal): void {
    const exchange = this.#exchange as Exchange; // set since the decision
    exchange.refusal = refusal;
    this.#leaveUpstream();
    if (this.#isAnswerBegun) return this.#abort();
    this.#isAnswerBegun = true;
    const isLate = !this.#body.isDone && this.#request.framing.expectContinue;
    if (RESCUE[refusal.reason].close || isLate || this.#engine.isDraining(exchange.direction)) this.#isPersistent = false;
    exchange.status = this.#writeRefusal(refusal, exchange.answerHeaders, exchange.grpc);
    this.#complete();
  }

  #writeRefusal(refusal: Refusal, extra: readonly string[], grpc: boolean): number {
    const { told } = this.served.context.peer;
    const { status, headers, body } = answerFor(refusal, extra, { grpc, told });
    const connection = this.#isPersistent ? (this.#request.isHttp10 ? "keep-alive" : "") : "close";
    putText(this.#wire, ownAnswerHead(status, headers, { kind: BODY.none, length: body.length, upgradeTo: "", connection }));
    if (this.method !== "HEAD") putText(this.#wire, body);
    return status;
  }

  /** Bytes that are no request: counted, answered, and the connection ended (design 13, rule 5). */
  #answerFlawed(rule: StrictnessRule): void {
    this.#refuseConnection(refusalOf(rule));
  }

  #refuseConnection(refusal: Refusal): void {
    this.#isPersistent = false;
    this.#handler.malformed(this.served.context, refusal);
    this.#writeRefusal(refusal, [], false);
    this.#endSoon();
  }

  // How an exchange and a connection end.

  #complete(): void {
    if (this.#wire.pendingBytes > 0 && !this.#wire.isTls && this.#wire.isOpen) this.#finishWhenWritten();
    else this.#finish();
    this.#held = null;
    this.#target = null;
    if (!this.#isPersistent || this.#engine.isDraining(this.served.context.direction)) {
      return this.#endSoon();
    }
    if (this.#body.isDone) return this.#becomeIdle();
    this.#phase = PHASE.discarding;
    this.#sinceMonoMs = this.#engine.nowMonoMs;
  }

  #finish(): void {
    const exchange = this.#exchange;
    this.#exchange = null;
    if (exchange !== null) this.#handler.finish(exchange);
  }

  /** A slow reader's exchange is in flight until its last byte is with the kernel: a drain must wait for it. */
  #finishWhenWritten(): void {
    const exchange = this.#exchange;
    this.#exchange = null;
    if (exchange === null) return;
    flush();
    this.#wire.stream.write("", () => this.#handler.finish(exchange));
  }

  #becomeIdle(): void {
    this.#phase = PHASE.head;
    this.#sinceMonoMs = this.#engine.nowMonoMs;
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
    this.#finish();
    this.#phase = PHASE.over;
    this.#wire.reset();
  }

  #leaveUpstream(): void {
    if (this.#phase === PHASE.connecting) this.#pool?.cancel(this);
    this.#upstream?.destroy();
    this.#upstream = null;
  }

  onEnd(): void {
    this.#isEnded = true;
    if (this.#phase === PHASE.tunnel) {
      this.#upstream?.wire.end();
      return;
    }
    if (this.#stash === null) this.#onAllTaken();
    flush();
  }

  /** The client has sent its last byte and all of them were taken: what is not whole will never be. */
  #onAllTaken(): void {
    if (this.#phase === PHASE.head || this.#phase === PHASE.over) return this.#endSoon();
    if (this.#phase === PHASE.tunnel || this.#body.isDone) return;
    this.#abort();
  }

  onDrain(): void {
    this.#blockedBytes = 0;
    this.#sinceMonoMs = this.#engine.nowMonoMs;
    this.#upstream?.wire.resume();
  }

  onClose(): void {
    this.#leaveUpstream();
    if (this.#phase !== PHASE.deciding) this.#finish();
    this.#phase = PHASE.over;
    this.#stash = null;
    this.#engine.forget(this);
  }

  /** No further request: at once when there is none, else after its answer. */
  drain(): void {
    if (this.#phase === PHASE.head && this.#headText === "" && this.#stash === null) this.#endSoon();
  }

  close(): void {
    this.#leaveUpstream();
    this.#wire.stream.destroy();
  }

  // Tunnels.

  onSwitched(answer: AnswerReader): void {
    const exchange = this.#exchange as Exchange; // set while open
    const fields = this.#handler.response(exchange, answer.status, answer.headers);
    this.#isAnswerBegun = true;
    this.#phase = PHASE.tunnel;
    const upgradeTo = answer.status === 101 ? answer.framing.upgradeTo || this.#upgradeTo : "";
    putText(this.#wire, answerHead(answer.status, answer.reason, fields, { ...NO_HOP_FIELDS, upgradeTo }));
    this.#settle();
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
      giveBack(stream);
      tunnel?.(authority, stream, first, (refusal) => {
        if (refusal !== null) {
          this.#refuseConnection(refusal);
          flush();
        } else if (!stream.destroyed) stream.write("HTTP/1.1 200 Connection established\r\n\r\n");
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
        if (this.#headText !== "" && waitedMs >= timeouts.headMs) this.#refuseConnection(TOO_SLOW);
        else if (this.#headText === "" && waitedMs >= timeouts.keepAliveMs) this.#endSoon();
        break;
      case PHASE.holding:
        if (waitedMs >= timeouts.stallMs) this.#answer(TOO_SLOW);
        break;
      case PHASE.connecting:
        if (waitedMs >= timeouts.queueMs)
          this.#answer(refuse("overloaded", `no connection within ${timeouts.queueMs} ms`, ["retry-after", "1"]));
        break;
      case PHASE.open:
        this.#checkFlow(waitedMs);
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
  #checkFlow(waitedMs: number): void {
    const pending = this.#wire.isBlocked
      ? this.#wire.pendingBytes
      : this.#isUpstreamBlocked()
        ? (this.#upstream?.wire.pendingBytes ?? 0)
        : 0;
    const isMoving = pending !== this.#blockedBytes;
    this.#blockedBytes = pending;
    const isOwed = pending > 0 || !this.#body.isDone;
    if (!isOwed || isMoving) {
      if (isMoving) this.#sinceMonoMs = this.#engine.nowMonoMs;
      return;
    }
    if (waitedMs < this.#engine.timeouts.stallMs) return;
    if (this.#isAnswerBegun) this.#failAnswer(SLOW_READER);
    else this.#answer(this.#isUpstreamBlocked() ? refuse("timeout", "the upstream does not read the request") : TOO_SLOW);
  }
}

const NO_HOP_FIELDS: HopFields = { kind: BODY.none, length: -1, upgradeTo: "", connection: "" };
const TOO_SLOW = refuse("timeout", "the request did not come in time", [], 408);
const SLOW_READER = refuse("timeout", "the client does not read its answer");

/** The protocols offered, without an offer of HTTP/2 (RFC 7540's h2c), which is ignored as RFC 9113 section 3.1 asks. */
function protocolsOffered(upgrade: string): string {
  return /(?:^|[,\s])h2c(?:$|[,\s])/i.test(upgrade) ? "" : upgrade;
}

function refusalOf(rule: StrictnessRule): Refusal {
  const { reason, status } = STRICTNESS[rule];
  return refuse(reason, detailOf(rule), [], status);
}

function detailOf(rule: StrictnessRule): string {
  return `rule: ${rule} (${STRICTNESS[rule].text})`;
}
