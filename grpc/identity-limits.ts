// What one identity may take of the control plane: streams that are open, new calls a second, messages a second over all its streams. All pods of a service
// account are one identity, so a share is made for its largest crowd; it is what keeps one identity from being all the load there is.
import type { Clock } from "../core/clock.ts";

/** Seconds of a rate that may come at once, after silence: everybody comes back at once when the control plane was away. */
const BURST_SECONDS = 10;
/** Identities remembered while they have nothing open. */
const MAX_IDLE = 10_000;
/** A boot storm of many identities must not look through all of them at each new one. */
const LOOK_EVERY_MS = 1000;

/** The limits of each identity. */
export interface IdentityLimitOptions {
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

/** What one identity uses now. */
export interface IdentityShare {
  /** Takes a stream and a call; null: taken. */
  open(): OverLimit | null;
  /** Gives a stream back. */
  close(): void;
  /** Takes a call without a stream. */
  takeCall(): OverLimit | null;
  /** HOT PATH: takes a message; a few additions. */
  takeMessage(): boolean;
}

/** The shares of all identities. */
export interface IdentityLimits {
  of(identity: string): IdentityShare;
  /** Identities remembered. */
  readonly size: number;
}

interface Share extends IdentityShare {
  readonly isIdle: () => boolean;
}

export function createIdentityLimits(options: IdentityLimitOptions): IdentityLimits {
  const { clock, streams, callsPerSecond, messagesPerSecond } = options;
  const shares = new Map<string, Share>();
  let lookedMonoMs = Number.NEGATIVE_INFINITY;

  function create(identity: string): Share {
    const calls = createBucket(callsPerSecond, clock);
    const messages = createBucket(messagesPerSecond, clock);
    let opened = 0;
    const takeCall = (): OverLimit | null =>
      calls.take() ? null : { reason: "too_many_calls", details: `${identity} makes more than ${callsPerSecond} calls a second` };
    return {
      open() {
        if (opened >= streams) return { reason: "too_many_streams", details: `${identity} has its most streams open, ${streams}` };
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
    for (const [identity, share] of shares) if (share.isIdle()) shares.delete(identity);
  }

  return {
    of(identity) {
      const known = shares.get(identity);
      if (known !== undefined) return known;
      forgetIdle();
      const share = create(identity);
      shares.set(identity, share);
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
