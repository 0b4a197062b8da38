// Until when a request may take (design 4, "route and timeout"): the caller's `grpc-timeout` and the bounds of its route, whichever is first. Past it the
// exchange is given up as `timeout`, which is DEADLINE_EXCEEDED for gRPC; what is left of the time is forwarded. What happens to the bytes then is the engine's
// business (`exchange.giveUp`).
//
// HOT PATH: a request that is bounded by nothing costs two comparisons and makes nothing; any other one object, and no timer of its own.
import type { Clock } from "../../core/clock.ts";
import { FIELD } from "../../core/field-kind.ts";
import { type Exchange, type Refusal, refuse } from "../exchange.ts";
import { formatGrpcTimeout, grpcTimeoutMsOf } from "./grpc-timeout.ts";
import { TimerWheel, WheelEntry } from "./timer-wheel.ts";

/** Time spent here up to which a `grpc-timeout` passes as it came, ms: below its own unit, mostly. */
const UNNOTICED_MS = 1;

/** The bounds that a route sets, ms; 0 for none. */
export interface TimeBounds {
  /** From the head of the request to the last byte of the answer. */
  readonly timeoutMs: number;
  /** From the head of the request to the head of its answer, retries included. */
  readonly answerTimeoutMs: number;
}

/** No bound but the caller's own. */
export const UNBOUNDED: TimeBounds = { timeoutMs: 0, answerTimeoutMs: 0 };

/** The deadline of one exchange. */
export class Deadline extends WheelEntry {
  readonly #exchange: Exchange;
  /** Instant of the end of the answer; Infinity for none. */
  readonly atMonoMs: number;
  /** Instant of its head; Infinity for none, and once it is there. */
  answerAtMonoMs: number;
  /** What the caller said, ms; Infinity for nothing. */
  readonly callerMs: number;
  /** True once it has run out: the caller's own time, not a bound of ours. */
  isCallersOwn = false;

  constructor(exchange: Exchange, bounds: TimeBounds, callerMs: number) {
    super();
    this.#exchange = exchange;
    this.callerMs = callerMs;
    const ownMs = bounds.timeoutMs === 0 ? Number.POSITIVE_INFINITY : bounds.timeoutMs;
    this.atMonoMs = exchange.startedMonoMs + Math.min(callerMs, ownMs);
    this.answerAtMonoMs = bounds.answerTimeoutMs === 0 ? Number.POSITIVE_INFINITY : exchange.startedMonoMs + bounds.answerTimeoutMs;
  }

  get dueMonoMs(): number {
    return Math.min(this.atMonoMs, this.answerAtMonoMs);
  }

  override onDue(): void {
    this.#exchange.giveUp?.(this.refusal());
  }

  /** What it ends with. */
  refusal(): Refusal {
    const { startedMonoMs } = this.#exchange;
    if (this.answerAtMonoMs < this.atMonoMs)
      return refuse("timeout", `no answer within ${Math.round(this.answerAtMonoMs - startedMonoMs)} ms`);
    const ms = this.atMonoMs - startedMonoMs;
    this.isCallersOwn = ms === this.callerMs;
    return refuse("timeout", `not complete within ${Math.round(ms)} ms, the time of ${this.isCallersOwn ? "its caller" : "its route"}`);
  }
}

/** Watches the deadlines of all exchanges. */
export class Deadlines {
  readonly #clock: Clock;
  readonly #wheel: TimerWheel;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#wheel = new TimerWheel(clock);
  }

  /** Exchanges that are bounded now. */
  get count(): number {
    return this.#wheel.count;
  }

  /** Sets the deadline of an exchange before it is decided on. Refuses one whose time is over already, or that says no readable time. */
  begin(exchange: Exchange, bounds: TimeBounds): Refusal | null {
    const isTimed = exchange.grpc && (exchange.head.fields.kinds & FIELD.grpcTimeout) !== 0;
    return isTimed || bounds.timeoutMs !== 0 || bounds.answerTimeoutMs !== 0 ? this.#begin(exchange, bounds, isTimed) : null;
  }

  #begin(exchange: Exchange, bounds: TimeBounds, isTimed: boolean): Refusal | null {
    const callerMs = isTimed ? grpcTimeoutMsOf(exchange.head.fields) : Number.POSITIVE_INFINITY;
    if (callerMs < 0) return refuse("bad_request", "grpc-timeout is not one to eight digits and a unit, or there are two");
    const deadline = new Deadline(exchange, bounds, callerMs);
    exchange.deadline = deadline;
    if (deadline.dueMonoMs <= this.#clock.monoMs()) return deadline.refusal();
    this.#wheel.schedule(deadline, deadline.dueMonoMs);
    return null;
  }

  /** Tells the next hop what is left. Repeatable: `exchange.edit` must not hold an earlier attempt's word. */
  forward(exchange: Exchange): void {
    const { deadline } = exchange;
    if (deadline === null || !exchange.grpc || deadline.atMonoMs === Number.POSITIVE_INFINITY) return;
    const nowMonoMs = this.#clock.monoMs();
    const isAsItCame = deadline.atMonoMs === exchange.startedMonoMs + deadline.callerMs;
    if (isAsItCame && nowMonoMs - exchange.startedMonoMs <= UNNOTICED_MS) return;
    exchange.edit.strip |= FIELD.grpcTimeout;
    exchange.edit.add("grpc-timeout", formatGrpcTimeout(deadline.atMonoMs - nowMonoMs));
  }

  /** The head of the answer is there. `isTunnel`: what follows has no end to wait for. */
  answered(exchange: Exchange, isTunnel: boolean): void {
    const { deadline } = exchange;
    if (deadline === null) return;
    const wasDueMonoMs = deadline.dueMonoMs;
    deadline.answerAtMonoMs = Number.POSITIVE_INFINITY;
    if (isTunnel || deadline.atMonoMs === Number.POSITIVE_INFINITY) this.#wheel.cancel(deadline);
    else if (deadline.atMonoMs !== wasDueMonoMs) this.#wheel.schedule(deadline, deadline.atMonoMs);
  }

  /** Time left, ms; Infinity without a deadline. */
  leftMs(exchange: Exchange): number {
    return exchange.deadline === null ? Number.POSITIVE_INFINITY : exchange.deadline.dueMonoMs - this.#clock.monoMs();
  }

  /** The exchange is over. */
  end(exchange: Exchange): void {
    if (exchange.deadline !== null) this.#wheel.cancel(exchange.deadline);
  }
}
