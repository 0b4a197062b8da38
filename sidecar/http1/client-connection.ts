// One connection from a client: reads its requests, one after the other, and hands each to the passage. Requests that are pipelined wait in the socket.
// Owns the client's bytes between the passages, and how the connection ends.
//
// HOT PATH: per request one scan of its head. Bytes that nobody can take yet are kept, at most 64 KiB and one read more; then reading pauses.
// Waiting is watched by the engine's sweep, so that a request costs no timer.
import type { ServedConnection } from "../engine.ts";
import type { Refusal } from "../exchange.ts";
import { giveBack } from "../transport/fast-read.ts";
import { flush } from "../transport/outgoing.ts";
import type { Wire, WireOwner } from "../transport/wire.ts";
import { Passage, TOO_SLOW } from "./passage.ts";
import type { PassageEngine, PassageOwner } from "./passage-owner.ts";
import { StallWatch } from "./patience.ts";
import type { RequestReader } from "./request-reader.ts";
import { refusalOf, type StrictnessRule } from "./strictness.ts";

/** What a client's connection needs of its engine. */
export interface Http1Engine extends PassageEngine {
  /** The instant of the last sweep, monotonic ms: exact enough to tell who has waited for seconds. */
  readonly nowMonoMs: number;
  /** Lends a reader for one request, of a mesh peer or anybody else. */
  takeReader(isFromMesh: boolean): RequestReader;
  giveReader(reader: RequestReader): void;
  /** The connection is gone. */
  forget(connection: ClientConnection): void;
}

const PHASE = {
  /** Between requests, or a head is coming. */
  head: 0,
  /** A request is under way. */
  passage: 1,
  /** Answered; the rest of the request's body is thrown away. */
  discarding: 2,
  /** The stream was given away; of its events only the last matters. */
  handedOver: 3,
  /** Sent its last answer; what still comes is thrown away. */
  over: 4,
} as const;
type Phase = (typeof PHASE)[keyof typeof PHASE];

/** Bytes behind a request that is under way which are kept before reading pauses. */
const MAX_KEPT_BYTES = 64 * 1024;

/** Serves one client. */
export class ClientConnection implements WireOwner, PassageOwner {
  readonly served: ServedConnection;
  readonly wire: Wire;
  readonly watch: StallWatch;
  readonly #engine: Http1Engine;
  readonly #passage: Passage;
  #phase: Phase = PHASE.head;
  /** Lent by the engine from the first byte of a head to the last of its exchange. */
  #reader: RequestReader | null = null;
  /** Bytes that came while nobody could take them; null for none. */
  #stash: Buffer | null = null;
  /** True while bytes are being taken: what is answered meanwhile goes on in the same loop. */
  #isTaking = false;

  /** `wireFor` makes the wire of it. */
  constructor(served: ServedConnection, engine: Http1Engine, wireFor: (owner: WireOwner) => Wire) {
    this.served = served;
    this.#engine = engine;
    this.watch = new StallWatch(engine);
    this.wire = wireFor(this);
    this.#passage = new Passage(this, engine);
  }

  start(): void {
    this.wire.start();
  }

  // What comes from the client.

  onBytes(bytes: Buffer, start: number, end: number): void {
    if (this.#stash !== null) return this.#keep(bytes, start, end);
    // A head has its time as a whole, whatever comes of it in between.
    if (this.#phase !== PHASE.head || this.#reader === null) this.watch.moved();
    this.#take(bytes, start, end);
    flush();
  }

  #take(bytes: Buffer, start: number, end: number): void {
    this.#isTaking = true;
    let at = start;
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
      case PHASE.passage:
        return this.#passage.take(bytes, at, end);
      case PHASE.discarding:
        return this.#discardBody(bytes, at, end);
      default:
        return -1;
    }
  }

  /** Keeps what nobody can take yet. Reading goes on up to a bound, as a client that leaves is only heard of while it is read. */
  #keep(bytes: Buffer, at: number, end: number): void {
    const rest = bytes.subarray(at, end);
    this.#stash = this.#stash === null ? Buffer.from(rest) : Buffer.concat([this.#stash, rest]);
    if (this.isOverfull) this.wire.pause();
  }

  get isOverfull(): boolean {
    return this.#stash !== null && this.#stash.length > MAX_KEPT_BYTES;
  }

  /** Goes on with what was kept, and reads on. */
  onMoved(): void {
    if (this.#isTaking) return;
    const kept = this.#stash;
    if (kept !== null) {
      this.#stash = null;
      this.#take(kept, 0, kept.length);
    }
    if (!this.isOverfull && !this.#passage.isUpstreamBlocked) this.wire.resume();
    flush();
  }

  #takeHead(bytes: Buffer, at: number, end: number): number {
    this.#reader ??= this.#engine.takeReader(this.served.context.peer.identity !== null);
    const next = this.#reader.read(bytes, at, end);
    if (next > end) return end;
    if (next !== -1) {
      this.#begin(this.#reader);
      return next;
    }
    this.#refuseConnection(refusalOf(this.#reader.flaw as StrictnessRule)); // set with -1
    return end;
  }

  #begin(request: RequestReader): void {
    this.watch.moved();
    this.#phase = PHASE.passage;
    this.wire.isAtWork = true;
    if (request.method === "CONNECT" && this.served.tunnel !== null) this.#handOver(request.authority);
    else this.#passage.begin(request);
  }

  #discardBody(bytes: Buffer, at: number, end: number): number {
    const { body } = this.#passage;
    const next = body.advance(bytes, at, end, null);
    if (next === -1) {
      this.#endSoon();
      return end;
    }
    if (body.isDone) this.#becomeIdle();
    return next;
  }

  /** Explicit capture: a tunnel is opened outside, on the bare stream. */
  #handOver(authority: string): void {
    const { tunnel, stream } = this.served;
    this.wire.pause();
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

  // How an exchange and the connection end.

  onPassed(isPersistent: boolean): void {
    if (!isPersistent) this.#endSoon();
    else if (this.#passage.body.isDone) this.#becomeIdle();
    else {
      this.#phase = PHASE.discarding;
      this.watch.moved();
    }
  }

  keepHead(): void {
    this.#reader = null;
  }

  #becomeIdle(): void {
    if (this.#reader !== null) this.#engine.giveReader(this.#reader);
    this.#reader = null;
    this.#phase = PHASE.head;
    this.wire.isAtWork = false;
    this.watch.moved();
  }

  /** Bytes that are no request: counted, answered, and the connection ended (design 13, rule 5). */
  #refuseConnection(refusal: Refusal): void {
    const { context, handler } = this.served;
    const { answer } = this.#passage;
    handler.malformed(context, refusal);
    answer.begin("", false, false);
    answer.refusal(refusal, { grpc: false, told: context.peer.told });
    this.#endSoon();
  }

  /** Sends what is written and the end, and waits a moment for the peer's (RFC 9112 section 9.6). */
  #endSoon(): void {
    flush();
    this.#phase = PHASE.over;
    this.watch.moved();
    this.#stash = null;
    this.wire.end();
    this.wire.resume();
  }

  onBroken(): void {
    this.#phase = PHASE.over;
    this.#stash = null;
    this.wire.reset();
  }

  onTunnelOver(): void {
    this.#endSoon();
  }

  /** A client that ends its side before its answer counts as gone, as with nginx and Envoy. */
  onEnd(): void {
    if (this.#phase === PHASE.head || this.#phase === PHASE.over) this.#endSoon();
    else if (this.#passage.isTunnel) this.#passage.endTunnel();
    else if (this.#phase !== PHASE.handedOver) this.#abort();
  }

  onDrain(): void {
    this.watch.moved();
    this.#passage.onClientDrain();
  }

  onClose(): void {
    if (this.#passage.isTunnel && this.wire.isOverInOrder) this.#passage.leaveTunnel();
    else if (this.#phase !== PHASE.handedOver) this.#abort();
    this.#engine.forget(this);
  }

  /** Breaks off: both sides see a reset. */
  #abort(): void {
    this.#passage.stop();
    this.onBroken();
  }

  /** No further request: at once when there is none, else after its answer. */
  drain(): void {
    if (this.#phase === PHASE.head && this.#reader === null && this.#stash === null) this.#endSoon();
  }

  close(): void {
    this.#passage.stop();
    this.wire.close();
  }

  /** Looks at how long things have taken; called by the engine's sweep. */
  check(): void {
    const { timeouts } = this.#engine;
    const { waitedMs } = this.watch;
    switch (this.#phase) {
      case PHASE.head:
        if (this.#reader !== null && waitedMs >= timeouts.headMs) this.#refuseConnection(TOO_SLOW);
        else if (this.#reader === null && waitedMs >= this.#keepAliveMs) this.#endSoon();
        break;
      case PHASE.passage:
        this.#passage.check(waitedMs);
        break;
      case PHASE.discarding:
        if (waitedMs >= timeouts.discardMs) this.#abort();
        break;
      case PHASE.over:
        this.#checkLinger(waitedMs);
        break;
    }
    flush();
  }

  /** An answer whose head was out when the drain began could not say that it is the last: the client has a moment for what it was about to send. */
  get #keepAliveMs(): number {
    const { timeouts } = this.#engine;
    return this.#engine.isLeaving(this.served.context) ? Math.min(timeouts.lingerMs, timeouts.keepAliveMs) : timeouts.keepAliveMs;
  }

  /** A slow reader gets its last answer whole; then it has a moment to close. */
  #checkLinger(waitedMs: number): void {
    const { timeouts } = this.#engine;
    const isWriting = this.wire.pendingBytes > 0;
    if (this.watch.isMoving(isWriting ? this.wire : null)) return;
    if (waitedMs >= (isWriting ? timeouts.stallMs : timeouts.lingerMs)) this.wire.reset();
  }
}
