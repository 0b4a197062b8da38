// How long a connection may keep its peer waiting, and what it is waiting for. One instant per connection, moved on whenever something moves; the engine's
// sweep looks at it, so that a request costs no timer.
import type { Wire } from "../transport/wire.ts";

/** How long each kind of waiting may take, ms. */
export interface Http1Timeouts {
  /** A whole request head, from its first byte; 408 after it. */
  readonly headMs: number;
  /** A peer that neither sends what is due nor takes what is there. */
  readonly stallMs: number;
  /** A client's connection between requests. */
  readonly keepAliveMs: number;
  /** A request that waits for a connection to its upstream. */
  readonly queueMs: number;
  /** A tunnel on which nothing moves; 0 for no bound. */
  readonly tunnelIdleMs: number;
  /** The rest of a body whose request was answered already. */
  readonly discardMs: number;
  /** A peer that was sent its last answer and does not close. */
  readonly lingerMs: number;
  /** A pooled connection to an upstream between requests. */
  readonly upstreamIdleMs: number;
}

/** The defaults, ms. */
export const HTTP1_TIMEOUTS: Http1Timeouts = {
  headMs: 15_000,
  stallMs: 60_000,
  // Above the idle time of a pooled connection on the other side, so that the dialling side closes first.
  keepAliveMs: 75_000,
  queueMs: 10_000,
  tunnelIdleMs: 0,
  discardMs: 5_000,
  lingerMs: 1_000,
  // Below the 75 s that nginx and most servers keep theirs.
  upstreamIdleMs: 30_000,
};

/** How long a connection has been waiting. */
export class StallWatch {
  readonly #time: { readonly nowMonoMs: number };
  #sinceMonoMs: number;
  /** Bytes that a blocked stream held when it was last looked at; 0 when none was blocked. */
  #pendingBytes = 0;

  /** `time` gives the instant of the last sweep. */
  constructor(time: { readonly nowMonoMs: number }) {
    this.#time = time;
    this.#sinceMonoMs = time.nowMonoMs;
  }

  /** Something came or went, or another wait begins. */
  moved(): void {
    this.#sinceMonoMs = this.#time.nowMonoMs;
  }

  get waitedMs(): number {
    return this.#time.nowMonoMs - this.#sinceMonoMs;
  }

  /** True when the blocked wire or stream (null: none is) holds another number of bytes than at the last look: somebody reads, if slowly. */
  isMoving(blocked: Pick<Wire, "pendingBytes"> | null): boolean {
    const pendingBytes = blocked === null ? 0 : blocked.pendingBytes;
    const isMoving = pendingBytes !== this.#pendingBytes;
    this.#pendingBytes = pendingBytes;
    if (isMoving) this.moved();
    return isMoving;
  }
}
