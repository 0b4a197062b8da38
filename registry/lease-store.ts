// Where leases live (design 8): in the memory of one process, or in Redis shared by many. Both answer questions from the same in-memory
// table; they differ in how a renewal reaches it and in what ends a lease.
import type { SpiffeId } from "../core/spiffe.ts";
import type { Lease, Load } from "./lease.ts";
import type { Leases } from "./lease-table.ts";

/** Whether a store can do its whole job. */
export type StoreStatus =
  | { readonly status: "ok" }
  /** The shared store is away since `since` (epoch ms): serving and accepting from memory. */
  | { readonly status: "degraded"; readonly since: number; readonly message: string };

/** The store behind a registry. */
export interface LeaseStore {
  /** `memory` or `redis`, for logs and health. */
  readonly kind: "memory" | "redis";
  readonly leases: Leases;
  /**
   * Registers or renews for `lastsMs`, one lease time when it is left out. Raises `RegistryError("forbidden")` when the instance belongs to another identity or a newer
   * process, `RegistryError("overloaded")` when the store is full.
   */
  renew(lease: Lease, load: Load, lastsMs?: number): Promise<void>;
  /** Ends a lease now, if `identity` holds it and no newer process took it. */
  remove(instanceId: string, claim: { readonly identity: SpiffeId; readonly epoch: number }): Promise<void>;
  /** Ends what nobody renewed in time. Returns how many leases ended. */
  sweep(): Promise<number>;
  /** From now on for one lease time nothing ends that was there before: those who are alive need the time to say so. */
  postpone(): void;
  status(): StoreStatus;
  close(): Promise<void>;
}

/** Leases one account may hold, so that one workload cannot fill the registry; more are refused as `overloaded`. */
export const MAX_LEASES_PER_ACCOUNT = 5000;

/** Leases one store holds at most; more are refused as `overloaded`. */
export const MAX_LEASES = 100_000;
