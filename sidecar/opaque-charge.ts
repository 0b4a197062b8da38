// An opaque connection as it is charged to its endpoint (design 12). Bytes that are not understood tell little: the mesh peer accepts before it has reached its
// app, and can say that it did not only by breaking off. So a connection is judged by its first byte, or by how it ended without one. It counts as in flight
// until it ends. Whether somebody else is asked is the caller's to say.
import type { Clock, Timer } from "../core/clock.ts";
import type { Pick } from "./resilience/balancer.ts";
import type { RelayEnd } from "./transport/relay.ts";

/** Times of reaching an app after which one that was not reached would be known: the peer has the same bound for it, and may have begun late. */
const PATIENCE = 2;

/** One connection. It begins to count when this is made; {@link OpaqueCharge.failed} or {@link OpaqueCharge.over} ends it. */
export class OpaqueCharge {
  readonly #pick: Pick<unknown>;
  readonly #clock: Clock;
  readonly #connectTimeoutMs: number;
  readonly #startedMonoMs: number;
  /** How long the connection took, ms: what there is to learn of a good endpoint. */
  #openedAfterMs = 0;
  /** Set while nothing is known but that it stands. */
  #timer: Timer | null = null;

  /** `connectTimeoutMs`: how long a sidecar tries to reach an app. */
  constructor(pick: Pick<unknown>, clock: Clock, connectTimeoutMs: number) {
    this.#pick = pick;
    this.#clock = clock;
    this.#connectTimeoutMs = connectTimeoutMs;
    this.#startedMonoMs = clock.monoMs();
    pick.start();
  }

  /** The endpoint could not be connected to. */
  failed(): void {
    this.#pick.done({ ok: false, latencyMs: this.#sinceStartMs });
  }

  /** The connection stands. One that goes on without a word, as to a sink of logs, is good after a while: an endpoint's single probe must not last as long as it. */
  opened(): void {
    this.#openedAfterMs = this.#sinceStartMs;
    this.#timer = this.#clock.after(PATIENCE * this.#connectTimeoutMs, () => this.answered());
  }

  /** The first bytes came back. */
  answered(): void {
    this.#stopTimer();
    this.#pick.judge({ ok: true, latencyMs: this.#openedAfterMs });
  }

  /** The connection is gone. */
  over(end: RelayEnd): void {
    this.#stopTimer();
    const ok = verdictOf(end);
    this.#pick.done(ok === null ? null : { ok, latencyMs: ok ? this.#openedAfterMs : this.#sinceStartMs });
  }

  #stopTimer(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  get #sinceStartMs(): number {
    return this.#clock.monoMs() - this.#startedMonoMs;
  }
}

/**
 * What the end of a connection from a client (`a`) to an endpoint (`b`) says of the endpoint: true for good, false for to blame, null for nothing. To blame is one
 * that broke off before it sent a byte; not so where the client had left without one either, as whoever only looks whether a port is open: some servers reset that.
 */
function verdictOf({ cause, brokenBy, bytesForward, bytesBack, endedForward }: RelayEnd): boolean | null {
  if (bytesBack > 0 || cause === "closed") return true;
  if (brokenBy !== "b" || (endedForward && bytesForward === 0)) return null;
  return false;
}
