// Leases, stores and heartbeats for the tests of the Redis store.
import type { Test } from "tap";
import { systemClock } from "../../../core/clock.ts";
import { silentLogger } from "../../../core/log.ts";
import { Secret } from "../../../core/secret.ts";
import { parseSpiffeId } from "../../../core/spiffe.ts";
import { parseAnnouncement } from "../../../registry/announcement.ts";
import type { Lease } from "../../../registry/lease.ts";
import type { LeaseStore } from "../../../registry/lease-store.ts";
import type { RedisStoreOptions } from "../../../registry/redis/store.ts";
import { startRedisStore } from "../../../registry/redis/store.ts";
import type { RedisServer } from "../../support/redis.ts";
import { startRedis } from "../../support/redis.ts";
import { heartbeatOf } from "../harness.ts";

export const ORDERS = parseSpiffeId("spiffe://cluster.local/ns/default/sa/orders");
export const STOCK = parseSpiffeId("spiffe://cluster.local/ns/default/sa/stock");
export const LOAD = { inFlight: 0, rps: 0, p99Ms: 0, errorRatio: 0, requests: 0, errors: 0, refused: 0 };
export const LEASE_MS = 1200;

export function leaseOf(instanceId: string, changes: Record<string, unknown> = {}, identity = ORDERS): Lease {
  return parseAnnouncement({ ...heartbeatOf({ instanceId }), ...changes }, identity).lease;
}

/** A store that sweeps every 100 ms, until `t` ends. */
export async function storeOf(
  t: Test,
  redis: { readonly url: string; readonly caPem?: string | null },
  changes: Partial<RedisStoreOptions> = {},
): Promise<LeaseStore> {
  const store = await startRedisStore({
    url: new Secret(redis.url),
    ...(typeof redis.caPem === "string" ? { tls: { caPem: redis.caPem } } : {}),
    clock: systemClock,
    random: Math.random,
    log: silentLogger(),
    leaseMs: LEASE_MS,
    ...changes,
  });
  const sweeper = setInterval(() => void store.sweep(), 100);
  t.teardown(async () => {
    clearInterval(sweeper);
    await store.close();
  });
  return store;
}

export async function redisOf(t: Test, options: Parameters<typeof startRedis>[0] = {}): Promise<RedisServer> {
  const redis = await startRedis(options);
  t.teardown(() => redis.close());
  return redis;
}

export function idsOf(store: LeaseStore): string[] {
  return [...store.leases.all()].map(({ lease }) => lease.instanceId).sort();
}

/** What left the store's view, in order, from now on. */
export function droppedFrom(store: LeaseStore): string[] {
  const dropped: string[] = [];
  store.leases.onChange(({ before, after }) => {
    if (after === null) dropped.push(before?.instanceId ?? "");
  });
  return dropped;
}

/** Renews `ids` through `store`, as their heartbeats would, until the test ends or the answer is called. */
export function beating(t: Test, store: LeaseStore, ids: readonly string[], everyMs: number = LEASE_MS / 4): () => void {
  const beat = () => {
    for (const id of ids) store.renew(leaseOf(id), LOAD).catch(() => {});
  };
  beat();
  const timer = setInterval(beat, everyMs);
  t.teardown(() => clearInterval(timer));
  return () => clearInterval(timer);
}

/** Waits until `holds`. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 40_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
