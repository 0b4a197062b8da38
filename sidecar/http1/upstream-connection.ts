// One connection to an upstream: gives a request away, reads the answers to it, and says whether the connection may carry another request. What is done
// with an answer is its taker's business; who gets the connection next is the pool's.
//
// HOT PATH: per answer one scan of the head and one call per chunk of body; the bytes given on are views of the read buffer.
import type { Clock } from "../../core/clock.ts";
import { flush } from "../transport/outgoing.ts";
import type { Wire, WireOwner } from "../transport/wire.ts";
import { AnswerReader } from "./answer-reader.ts";
import { BodyReader } from "./body-reader.ts";
import type { OnData } from "./chunked.ts";
import { BODY } from "./framing.ts";
import { LIMITS, type StrictnessRule } from "./strictness.ts";

/** Takes the answers to one request. All calls come from the event loop; after the last three the connection is no longer the taker's. */
export interface AnswerTaker {
  /** Method of the request: decides how its answer is framed. */
  readonly method: string;
  /** True when the request asked for another protocol, or for a tunnel. */
  readonly asksForTunnel: boolean;
  /** A 1xx answer that is not the last. */
  onInterim(answer: AnswerReader): void;
  /** The head of the final answer. */
  onAnswerHead(answer: AnswerReader, body: BodyReader): void;
  /** Bytes of its body, with the framing that they came in. */
  onAnswerBytes(bytes: Buffer, start: number, end: number): void;
  /** Where the content alone goes instead, without chunk framing; null where it is forwarded as it came. */
  readonly onAnswerContent: OnData | null;
  /** The connection is a tunnel from now on: bytes come by `onTunnelBytes`, ends and closes by the same calls as ever. */
  onSwitched(answer: AnswerReader): void;
  onTunnelBytes(bytes: Buffer, start: number, end: number): void;
  /** The upstream ended its side of the tunnel. */
  onTunnelEnd(): void;
  /** Both sides of the tunnel have ended in order, and the connection is gone. */
  onTunnelOver(): void;
  /** What was written is through. */
  onUpstreamDrain(): void;
  /** The answer is complete. */
  onAnswerEnd(connection: UpstreamConnection, body: BodyReader): void;
  /** Bytes that are no answer; the connection is closed. */
  onAnswerFlaw(rule: StrictnessRule): void;
  /** The connection broke. `wasSilent`: not a byte of an answer had come. */
  onUpstreamLost(wasSilent: boolean): void;
}

const PHASE = { idle: 0, head: 1, body: 2, tunnel: 3, over: 4 } as const;
type Phase = (typeof PHASE)[keyof typeof PHASE];

/** An open connection to an upstream. */
export class UpstreamConnection implements WireOwner {
  readonly wire: Wire;
  /** Requests it was used for, the current one included. */
  requests = 0;
  /** Until when it may wait for the next request, monotonic ms; set by the pool. */
  idleUntilMonoMs = 0;
  /** Seconds for which the upstream said it keeps idle connections, or -1. */
  keepAliveSeconds = -1;
  readonly #clock: Clock;
  readonly #onClosed: (connection: UpstreamConnection) => void;
  readonly #answer = new AnswerReader();
  readonly #body = new BodyReader();
  #phase: Phase = PHASE.idle;
  /** Set exactly while a request is on its way. */
  #taker: AnswerTaker | null = null;
  #interimBytes = 0;
  #isPersistent = true;
  #sawBytes = false;

  /** `wireFor` makes the wire of it. */
  constructor(isToMesh: boolean, clock: Clock, onClosed: (connection: UpstreamConnection) => void, wireFor: (owner: WireOwner) => Wire) {
    this.#clock = clock;
    this.#onClosed = onClosed;
    this.#answer.isFromMesh = isToMesh;
    this.wire = wireFor(this);
    this.wire.start();
  }

  /** True when it may carry another request. */
  get isReusable(): boolean {
    return this.#phase === PHASE.idle && this.#isPersistent && this.wire.isWritable && !this.wire.isLeaving;
  }

  /** Gives the connection to a request, which the taker then writes. */
  begin(taker: AnswerTaker): void {
    this.#taker = taker;
    this.#phase = PHASE.head;
    this.#answer.clear();
    this.#interimBytes = 0;
    this.#sawBytes = false;
    this.wire.isAtWork = true;
    this.requests += 1;
  }

  /** Ends it with a reset, and says nothing more to its taker. */
  destroy(): void {
    this.#taker = null;
    this.#phase = PHASE.over;
    this.wire.reset();
  }

  /** Ends a tunnel whose client has left in order: what was written still arrives. */
  endSoon(): void {
    this.#taker = null;
    this.#phase = PHASE.over;
    this.wire.endSoon(this.#clock);
  }

  /** Ends it in order: it is idle. */
  retire(): void {
    this.#phase = PHASE.over;
    this.wire.close();
  }

  onBytes(bytes: Buffer, start: number, end: number): void {
    this.#sawBytes = true;
    let at = start;
    while (at < end) {
      switch (this.#phase) {
        case PHASE.head:
          at = this.#takeHead(bytes, at, end);
          break;
        case PHASE.body:
          at = this.#takeBody(bytes, at, end);
          break;
        case PHASE.tunnel:
          this.#taker?.onTunnelBytes(bytes, at, end);
          at = end;
          break;
        case PHASE.idle: // answer_not_asked: nothing is due, and whoever gets the connection next would take it for his
          this.destroy();
          at = end;
          break;
        default:
          at = end;
      }
    }
    flush();
  }

  #takeHead(bytes: Buffer, start: number, end: number): number {
    const next = this.#answer.read(bytes, start, end);
    if (next > end) return end;
    if (next === -1) {
      this.#fail(this.#answer.flaw as StrictnessRule); // set with -1
      return end;
    }
    this.#onHead(next - start, next < end);
    return next;
  }

  #onHead(headBytes: number, isFollowed: boolean): void {
    const taker = this.#taker as AnswerTaker; // set while a head is awaited
    const answer = this.#answer;
    if (answer.status < 200 && answer.status !== 101) {
      this.#interimBytes += headBytes;
      if (this.#interimBytes > LIMITS.headBytes) return this.#fail("head_too_large");
      return taker.onInterim(answer);
    }
    if (answer.status === 101 || (taker.method === "CONNECT" && answer.status < 300)) {
      if (!taker.asksForTunnel) return this.#fail("switching_not_asked");
      this.#phase = PHASE.tunnel;
      return taker.onSwitched(answer);
    }
    const kind = answer.bodyKind(taker.method);
    this.#isPersistent = answer.isPersistent && kind !== BODY.untilClose;
    this.keepAliveSeconds = answer.framing.keepAliveSeconds;
    this.#body.begin(kind, answer.framing.length);
    this.#phase = PHASE.body;
    taker.onAnswerHead(answer, this.#body);
    if (this.#body.isDone && this.#phase === PHASE.body) this.#end(isFollowed); // unless its taker had no use for it
  }

  #takeBody(bytes: Buffer, start: number, end: number): number {
    const next = this.#taker === null ? end : this.#advance(bytes, start, end);
    if (next === -1) {
      this.#fail(this.#body.flaw as StrictnessRule); // set with -1
      return end;
    }
    if (this.#body.isDone && this.#phase === PHASE.body) this.#end(next < end);
    return next;
  }

  #advance(bytes: Buffer, start: number, end: number): number {
    const taker = this.#taker as AnswerTaker; // set while a body is followed
    const next = this.#body.advance(bytes, start, end, taker.onAnswerContent);
    if (next !== -1 && taker.onAnswerContent === null) taker.onAnswerBytes(bytes, start, this.#body.passTo);
    return next;
  }

  /** The answer is complete. `isFollowed`: by bytes that nobody asked for (answer_not_asked), which must not become the next request's answer. */
  #end(isFollowed: boolean): void {
    const taker = this.#taker as AnswerTaker; // set while a body is followed
    if (isFollowed) this.#isPersistent = false;
    // A slow client may have paused it; the next request, and the end of an idle connection, are to be heard.
    this.wire.resume();
    this.#taker = null;
    this.wire.isAtWork = false;
    this.#phase = PHASE.idle;
    taker.onAnswerEnd(this, this.#body);
  }

  #fail(rule: StrictnessRule): void {
    const taker = this.#taker;
    this.destroy();
    taker?.onAnswerFlaw(rule);
  }

  onEnd(): void {
    if (this.#phase === PHASE.tunnel) {
      this.#taker?.onTunnelEnd();
      flush();
      return;
    }
    if (this.#phase === PHASE.body && this.#body.kind === BODY.untilClose) this.#end(false);
    else this.#lose();
    this.wire.close();
    flush();
  }

  onDrain(): void {
    this.#taker?.onUpstreamDrain();
    flush();
  }

  onClose(): void {
    if (this.#phase === PHASE.tunnel && this.wire.isOverInOrder) this.#taker?.onTunnelOver();
    else this.#lose();
    this.#phase = PHASE.over;
    this.#onClosed(this);
    flush();
  }

  #lose(): void {
    const taker = this.#taker;
    this.#taker = null;
    this.#phase = PHASE.over;
    taker?.onUpstreamLost(!this.#sawBytes);
  }
}
