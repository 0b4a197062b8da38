// What one caller may take of the control plane: streams that are open, new calls a second, messages a second over all its streams. A caller is an identity, or
// an address where there is no identity yet. All pods of a service account are one identity, so a share is made for its largest crowd; it is what keeps one
// caller from being all the load there is.
import type { Clock } from "../clock.ts";

/** Seconds of a rate that may come at once, after silence: everybody comes back at once when the control plane was away. */
const BURST_SECONDS = 10;
/** Callers remembered while they are at rest. */
const MAX_IDLE = 10_000;
/** A boot storm of many callers must not look through all of them at each new one. */
const LOOK_EVERY_MS = 1000;

/** The limits of each caller. */
export interface CallerLimitOptions {
  readonly clock: Clock;
  /** Open streams. */
  readonly streams: number;
  /** New streams and calls a second; ten seconds' worth may come at once. */
  readonly callsPerSecond: number;
  /** Messages a second over all streams; ten seconds' worth may come at once. */
  readonly messagesPerSecond: number;
}

/** Why not. */
export interface OverLimit {
  readonly reason: "too_many_streams" | "too_many_calls";
  readonly details: string;
}

/** What one caller uses now. */
export interface CallerShare {
  /** Takes a stream and a call; null: taken. */
  open(): OverLimit | null;
  /** Gives a stream back. */
  close(): void;
  /** Takes a call without a stream. */
  takeCall(): OverLimit | null;
  /** HOT PATH: takes a message; a few additions. */
  takeMessage(): boolean;
}

/** The shares of all callers of one kind. */
export interface CallerLimits extends Pick<CallerLimitOptions, "messagesPerSecond"> {
  /** By identity, or by address. */
  of(caller: string): CallerShare;
  /** Callers remembered. */
  readonly size: number;
}

interface Share extends CallerShare {
  readonly isIdle: () => boolean;
}

export function createCallerLimits(options: CallerLimitOptions): CallerLimits {
  const { clock, streams, callsPerSecond, messagesPerSecond } = options;
  const shares = new Map<string, Share>();
  let lookedMonoMs = Number.NEGATIVE_INFINITY;

  function create(caller: string): Share {
    const calls = createBucket(callsPerSecond, clock);
    const messages = createBucket(messagesPerSecond, clock);
    let opened = 0;
    const takeCall = (): OverLimit | null =>
      calls.take() ? null : { reason: "too_many_calls", details: `${caller} makes more than ${callsPerSecond} calls a second` };
    return {
      open() {
        if (opened >= streams) return { reason: "too_many_streams", details: `${caller} has its most streams open, ${streams}` };
        const over = takeCall();
        if (over === null) opened += 1;
        return over;
      },
      close() {
        opened -= 1;
      },
      takeCall,
      takeMessage: messages.take,
      isIdle: () => opened === 0 && calls.isWhole() && messages.isWhole(),
    };
  }

  /** Only what is at rest is forgotten, so nobody gets a new share by waiting for others; what is busy is bounded by the streams of the server. */
  function forgetIdle(): void {
    const now = clock.monoMs();
    if (shares.size < MAX_IDLE || now - lookedMonoMs < LOOK_EVERY_MS) return;
    lookedMonoMs = now;
    for (const [caller, share] of shares) if (share.isIdle()) shares.delete(caller);
  }

  return {
    messagesPerSecond,
    of(caller) {
      const known = shares.get(caller);
      if (known !== undefined) return known;
      forgetIdle();
      const share = create(caller);
      shares.set(caller, share);
      return share;
    },
    get size() {
      return shares.size;
    },
  };
}

function createBucket(perSecond: number, clock: Clock) {
  const burst = perSecond * BURST_SECONDS;
  let tokens = burst;
  let filledMonoMs = clock.monoMs();
  function fill(): void {
    const now = clock.monoMs();
    tokens = Math.min(burst, tokens + ((now - filledMonoMs) / 1000) * perSecond);
    filledMonoMs = now;
  }
  return {
    take(): boolean {
      fill();
      if (tokens < 1) return false;
      tokens -= 1;
      return true;
    },
    isWhole(): boolean {
      fill();
      return tokens >= burst;
    },
  };
}

/** What callers may take: those with an identity, by it; those without, by their address. */
export interface CallLimits {
  readonly identities: CallerLimits;
  readonly addresses: CallerLimits;
}
