// What this replica heard by itself: the leases of the instances that send their heartbeats here. It is what can be written back when Redis was away
// or has forgotten, and it says what of that is still to be done.
import type { Clock } from "../../core/clock.ts";
import type { Lease, Load } from "../lease.ts";
import { MAX_LEASES } from "../lease-store.ts";
import type { Claim } from "./calls.ts";

/** A live instance is heard at least twice in a lease; one that was not for this part of it is not counted on. */
const FRESH_PART = 0.75;

/** One heartbeat, the last. */
export interface Heard {
  readonly lease: Lease;
  readonly load: Load;
  lastsMs: number;
  atMonoMs: number;
}

/** The heartbeats of one replica. */
export interface HeardLeases {
  /** Notes a heartbeat; an instance that is heard has not left. */
  hear(lease: Lease, load: Load, lastsMs: number): void;
  get(instanceId: string): Heard | undefined;
  /** What is left of the lease that its last heartbeat gave, ms; 0 or less: nothing. */
  remainingMs(heard: Heard): number;
  /** True: it was heard so lately that it must be alive. */
  isFresh(instanceId: string): boolean;
  /** Instances whose lease has not run out. */
  current(): string[];
  forget(instanceId: string): void;
  /** Instances to write to Redis: accepted without it, or lost by it. */
  readonly pending: Set<string>;
  /** Instances that left while Redis was away, and who said so. */
  readonly left: ReadonlyMap<string, Claim>;
  leave(instanceId: string, claim: Claim): void;
  /** Redis knows that the instance has left. */
  settleLeft(instanceId: string): void;
}

/** Starts with nothing heard. */
export function createHeardLeases(clock: Clock): HeardLeases {
  const heard = new Map<string, Heard>();
  const pending = new Set<string>();
  const left = new Map<string, Claim>();

  function forget(instanceId: string): void {
    heard.delete(instanceId);
    pending.delete(instanceId);
  }

  const remainingMs = (entry: Heard) => entry.lastsMs - (clock.monoMs() - entry.atMonoMs);

  return {
    pending,
    left,
    remainingMs,
    forget,
    get: (instanceId) => heard.get(instanceId),
    hear(lease, load, lastsMs) {
      const known = heard.get(lease.instanceId);
      if (known?.lease === lease) {
        // In place: what is left behind by each heartbeat has lived long enough to be costly to collect.
        Object.assign(known.load, load);
        known.lastsMs = lastsMs;
        known.atMonoMs = clock.monoMs();
      } else heard.set(lease.instanceId, { lease, load: { ...load }, lastsMs, atMonoMs: clock.monoMs() });
      left.delete(lease.instanceId);
    },
    isFresh(instanceId) {
      const entry = heard.get(instanceId);
      return entry !== undefined && remainingMs(entry) > entry.lastsMs * (1 - FRESH_PART);
    },
    current: () => [...heard].filter(([, entry]) => remainingMs(entry) > 0).map(([id]) => id),
    leave(instanceId, claim) {
      forget(instanceId);
      if (left.size < MAX_LEASES) left.set(instanceId, claim); // past the bound: Redis ends it by itself, nobody renews it
    },
    settleLeft: (instanceId) => void left.delete(instanceId),
  };
}
