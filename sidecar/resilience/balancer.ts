// Chooses an endpoint: power of two choices over peak EWMA × (requests in flight + 1), with one breaker per endpoint (design 4, 12). `update` and
// breaker edges rebuild an immutable snapshot of the endpoints that may be asked; `pick` only reads it (style 14). Owns estimates, in-flight counts and
// breakers, kept by endpoint id across updates and a short absence; it does no I/O and owns no timer.
//
// HOT PATH: a pick is one clock read, two random numbers, two estimates and one small object; where there is no choice, only the object.
import type { Clock } from "../../core/clock.ts";
import type { Reason } from "../../core/reasons.ts";
import { type Breaker, type BreakerSettings, type BreakerState, createBreaker, DEFAULT_BREAKER } from "./breaker.ts";
import { createPeakEwma, DEFAULT_DECAY_MS, type PeakEwma } from "./peak-ewma.ts";

/** How a request went. */
export interface Outcome {
  /** False when the endpoint is to blame: refused, reset, timed out, or answered that it is broken. */
  readonly ok: boolean;
  /** Time to the first byte of the answer, or to the failure. */
  readonly latencyMs: number;
}

/** An endpoint chosen for one request. */
export interface Pick<E> {
  readonly endpoint: E;
  /** The request is being sent. Call once. */
  start(): void;
  /** What this shows of the endpoint is known before it ends, as of a connection that stays open: it counts as in flight until `done`, which adds nothing. */
  judge(outcome: Outcome): void;
  /** The request ended. Only the first call counts; without `start` none does. Null: it ended without saying anything about the endpoint. */
  done(outcome: Outcome | null): void;
}

/** Chooses among endpoints. */
export interface Balancer<E extends { readonly id: string }> {
  /** Takes a new set; what is known of an id that stays, or comes back within a minute, is kept. */
  update(endpoints: readonly E[]): void;
  /** Chooses one, or null: ask {@link Balancer.refusal} why. `exceptId` is avoided while there is any other (a second attempt). */
  pick(exceptId?: string): Pick<E> | null;
  /** Why {@link Balancer.pick} gave null: there are no endpoints, or each is open. */
  refusal(): Extract<Reason, "no_endpoints" | "circuit_open">;
  /** Endpoints now, and how many of them are left alone. */
  counts(): { readonly endpoints: number; readonly out: number };
}

/** How to make a {@link Balancer}. */
export interface BalancerOptions<E> {
  readonly clock: Clock;
  /** 0..1. */
  readonly random: () => number;
  readonly breaker?: Partial<BreakerSettings>;
  /** Time constant of the estimates, default 10 000 ms. */
  readonly decayMs?: number;
  /** Latency guessed for an endpoint whose first request failed, default 30 ms. */
  readonly initialLatencyMs?: number;
  /** Told each edge of a breaker, for log and metrics. */
  readonly breakerChanged?: (endpoint: E, from: BreakerState, to: BreakerState) => void;
}

const DEFAULT_INITIAL_LATENCY_MS = 30;
/** How long what is known of an endpoint outlives it: one that refused a connection leaves the view for some seconds, and must not come back as a new one. */
const REMEMBERED_MS = 60_000;
/** Most endpoints remembered after they left; those that left first are forgotten. */
const MAX_REMEMBERED = 256;

/** Makes a balancer without endpoints. */
export function createBalancer<E extends { readonly id: string }>(options: BalancerOptions<E>): Balancer<E> {
  return new PeakEwmaBalancer(options);
}

/** What is known of one endpoint. */
interface Slot<E> {
  /** Replaced when an update brings a new object of the same id. */
  endpoint: E;
  readonly breaker: Breaker;
  readonly latency: PeakEwma;
  inFlight: number;
  /** When it left the set last. */
  leftMonoMs: number;
}

class PeakEwmaBalancer<E extends { readonly id: string }> implements Balancer<E> {
  readonly #options: BalancerOptions<E>;
  readonly #breaker: BreakerSettings;
  readonly #slots = new Map<string, Slot<E>>();
  /** Slots of endpoints that left, in the order in which they did. */
  readonly #left = new Map<string, Slot<E>>();
  /** Those that pass now: the snapshot that picks read. Replaced, never changed. */
  #passing: readonly Slot<E>[] = [];
  /** Breakers that are open or half open. */
  #out = 0;
  /** Earliest end of an open breaker; Infinity exactly while none is open. */
  #wakeMonoMs = Number.POSITIVE_INFINITY;

  constructor(options: BalancerOptions<E>) {
    this.#options = options;
    this.#breaker = { ...DEFAULT_BREAKER, ...options.breaker };
  }

  update(endpoints: readonly E[]): void {
    const nowMonoMs = this.#options.clock.monoMs();
    this.#forget(nowMonoMs); // before anybody is taken back
    const kept = new Set<string>();
    for (const endpoint of endpoints) {
      kept.add(endpoint.id);
      const slot = this.#slots.get(endpoint.id) ?? this.#takeBack(endpoint.id);
      if (slot === null) this.#slots.set(endpoint.id, this.#createSlot(endpoint));
      else slot.endpoint = endpoint;
    }
    for (const [id, slot] of this.#slots) if (!kept.has(id)) this.#remember(id, slot, nowMonoMs);
    this.#forget(nowMonoMs);
    this.#rebuild();
    this.#releaseExcess();
  }

  #remember(id: string, slot: Slot<E>, nowMonoMs: number): void {
    this.#slots.delete(id);
    slot.leftMonoMs = nowMonoMs;
    this.#left.set(id, slot);
  }

  #takeBack(id: string): Slot<E> | null {
    const slot = this.#left.get(id);
    if (slot === undefined) return null;
    this.#left.delete(id);
    this.#slots.set(id, slot);
    return slot;
  }

  /** Keeps to the bounds of memory: time and number. */
  #forget(nowMonoMs: number): void {
    for (const [id, slot] of this.#left) {
      if (this.#left.size <= MAX_REMEMBERED && nowMonoMs - slot.leftMonoMs < REMEMBERED_MS) return;
      this.#left.delete(id);
    }
  }

  pick(exceptId?: string): Pick<E> | null {
    const slot = this.#isAlone ? (this.#passing[0] as Slot<E>) : this.#chooseNow(exceptId);
    return slot === null ? null : new SlotPick(slot, this.#options);
  }

  refusal(): "no_endpoints" | "circuit_open" {
    return this.#slots.size === 0 ? "no_endpoints" : "circuit_open";
  }

  counts(): { readonly endpoints: number; readonly out: number } {
    return { endpoints: this.#slots.size, out: this.#out };
  }

  /** True when there is nothing to choose, and no breaker whose time may be over. */
  get #isAlone(): boolean {
    return this.#passing.length === 1 && this.#wakeMonoMs === Number.POSITIVE_INFINITY;
  }

  #chooseNow(exceptId: string | undefined): Slot<E> | null {
    const nowMonoMs = this.#options.clock.monoMs();
    if (nowMonoMs >= this.#wakeMonoMs) this.#wake(nowMonoMs);
    return this.#choose(this.#passing, exceptId, nowMonoMs);
  }

  #choose(passing: readonly Slot<E>[], exceptId: string | undefined, nowMonoMs: number): Slot<E> | null {
    const count = passing.length;
    if (count === 0) return null;
    if (count === 1) return passing[0] as Slot<E>;
    const { random } = this.#options;
    const first = Math.floor(random() * count);
    let second = Math.floor(random() * (count - 1));
    if (second >= first) second += 1;
    const a = passing[first] as Slot<E>;
    const b = passing[second] as Slot<E>;
    if (exceptId !== undefined && a.endpoint.id === exceptId) return b;
    if (exceptId !== undefined && b.endpoint.id === exceptId) return a;
    return isCheaper(b, a, nowMonoMs) ? b : a;
  }

  #createSlot(endpoint: E): Slot<E> {
    const slot: Slot<E> = {
      endpoint,
      breaker: createBreaker({
        settings: this.#breaker,
        random: this.#options.random,
        // Never more than half of the endpoints: with most of a service failing, the cause is rarely the single endpoint.
        mayOpen: () => (this.#out + 1) * 2 <= this.#slots.size && this.#slots.get(slot.endpoint.id) === slot,
        changed: (from, to) => {
          if (this.#slots.get(slot.endpoint.id) === slot) this.#rebuild();
          this.#options.breakerChanged?.(slot.endpoint, from, to);
        },
      }),
      latency: createPeakEwma(this.#options.decayMs ?? DEFAULT_DECAY_MS),
      inFlight: 0,
      leftMonoMs: 0,
    };
    return slot;
  }

  /** Recomputes everything that picks read. Runs on edges and updates only. */
  #rebuild(): void {
    const passing: Slot<E>[] = [];
    let out = 0;
    let wakeMonoMs = Number.POSITIVE_INFINITY;
    for (const slot of this.#slots.values()) {
      const state = slot.breaker.state();
      if (state.kind !== "closed") out += 1;
      if (state.kind === "open") wakeMonoMs = Math.min(wakeMonoMs, state.untilMonoMs);
      if (slot.breaker.passes()) passing.push(slot);
    }
    this.#passing = passing;
    this.#out = out;
    this.#wakeMonoMs = wakeMonoMs;
  }

  #wake(nowMonoMs: number): void {
    for (const slot of this.#slots.values()) slot.breaker.wake(nowMonoMs);
  }

  /** When healthy endpoints left, too large a share may be out: the ones due first are probed now. */
  #releaseExcess(): void {
    let excess = this.#out - Math.floor(this.#slots.size / 2);
    if (excess <= 0) return;
    const open = [...this.#slots.values()]
      .filter((slot) => slot.breaker.state().kind === "open")
      .sort((a, b) => dueMonoMs(a) - dueMonoMs(b));
    for (const slot of open) {
      if (excess <= 0) return;
      slot.breaker.wake(0, true);
      excess -= 1;
    }
  }
}

function dueMonoMs<E>(slot: Slot<E>): number {
  const state = slot.breaker.state();
  return state.kind === "open" ? state.untilMonoMs : 0;
}

/**
 * Estimate × (in flight + 1). One that is half open wins: its single probe is due, whatever its estimate. An endpoint without an estimate is compared by its requests in flight alone and wins a tie: it is asked once to learn, and not
 * flooded while its first answer is out.
 */
function isCheaper<E>(candidate: Slot<E>, than: Slot<E>, nowMonoMs: number): boolean {
  if (candidate.breaker.state().kind === "half_open") return true;
  if (than.breaker.state().kind === "half_open") return false;
  if (!candidate.latency.measured || !than.latency.measured) {
    if (candidate.inFlight !== than.inFlight) return candidate.inFlight < than.inFlight;
    return than.latency.measured;
  }
  const cost = candidate.latency.read(nowMonoMs) * (candidate.inFlight + 1);
  return cost < than.latency.read(nowMonoMs) * (than.inFlight + 1);
}

class SlotPick<E extends { readonly id: string }> implements Pick<E> {
  readonly endpoint: E;
  readonly #slot: Slot<E>;
  readonly #options: BalancerOptions<E>;
  #state: "picked" | "started" | "judged" | "done" = "picked";
  #probe = false;

  constructor(slot: Slot<E>, options: BalancerOptions<E>) {
    this.endpoint = slot.endpoint;
    this.#slot = slot;
    this.#options = options;
  }

  start(): void {
    if (this.#state !== "picked") return;
    this.#state = "started";
    this.#slot.inFlight += 1;
    this.#probe = this.#slot.breaker.begin();
  }

  judge(outcome: Outcome): void {
    if (this.#state !== "started") return;
    this.#state = "judged";
    const nowMonoMs = this.#options.clock.monoMs();
    this.#observe(outcome, nowMonoMs);
    this.#slot.breaker.end(outcome.ok, this.#probe, nowMonoMs);
  }

  done(outcome: Outcome | null): void {
    if (outcome !== null) this.judge(outcome);
    else if (this.#state === "started") this.#slot.breaker.abandon(this.#probe);
    if (this.#state !== "started" && this.#state !== "judged") return;
    this.#state = "done";
    this.#slot.inFlight -= 1;
  }

  #observe(outcome: Outcome, nowMonoMs: number): void {
    const { latency } = this.#slot;
    if (outcome.ok) {
      // It is well again: what was learnt while it failed would keep it idle for many decay times.
      if (this.#probe) latency.reset();
      latency.observe(outcome.latencyMs, nowMonoMs);
      return;
    }
    // One that fails at once must not look like the fastest: each failure at least doubles the estimate.
    const leastMs = latency.measured ? 2 * latency.read(nowMonoMs) : (this.#options.initialLatencyMs ?? DEFAULT_INITIAL_LATENCY_MS);
    latency.observe(Math.max(outcome.latencyMs, leastMs), nowMonoMs);
  }
}
