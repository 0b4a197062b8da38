// Cluster mode: leases in Redis, mirrored in this replica's memory (design 8). While Redis is there, it decides: renewals, removals and expiry are
// scripts, and the mirror changes only by what the change streams say. While it is away, this replica serves and accepts from its mirror and says
// `degraded`; afterwards it writes back what it heard and gives every lease it knew a full lease time to come back.
//
// Keys are spread over hash-tagged shards by instance id, not by service: an instance may have several services, and who owns an instance must
// be decided atomically, which a Redis Cluster allows within one shard only.
import type { Clock } from "../core/clock.ts";
import { RegistryError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Secret } from "../core/secret.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import { parseLease } from "./announcement.ts";
import type { Lease, Load } from "./lease.ts";
import { formatLease } from "./lease.ts";
import type { LeaseStore, StoreStatus } from "./lease-store.ts";
import { MAX_LEASES } from "./lease-store.ts";
import { createLeaseTable, refuseTakeover } from "./lease-table.ts";
import type { StreamEntry } from "./redis-link.ts";
import { connectRedis } from "./redis-link.ts";
import type { Shard } from "./redis-shards.ts";
import { createShards, shardOf } from "./redis-shards.ts";

const BLOCK_MS = 1000;
const RETRY_LEAST_MS = 50;
const RETRY_MOST_MS = 1000;
const SWEEP_AT_ONCE = 256;
const WRITE_BACK_AT_ONCE = 64;

/** Settings of {@link startRedisStore}. */
export interface RedisStoreOptions {
  /** `redis://…` or `rediss://…`. */
  readonly url: Secret;
  /** Roots for `rediss://`, PEM; default: the system's. */
  readonly caPem?: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** Default 15000. */
  readonly leaseMs?: number;
  /** First part of every key, so that meshes can share a server. Default "remora". */
  readonly keyPrefix?: string;
  /** Changes kept per shard for replicas that lag; those that missed more resynchronise. Default 4096. */
  readonly maxChanges?: number;
  /** Runs at each change between ok and degraded. */
  readonly onStatus?: (status: StoreStatus) => void;
}

interface Claim {
  readonly identity: SpiffeId;
  readonly epoch: number;
}

interface Heard {
  readonly lease: Lease;
  readonly load: Load;
  readonly atMonoMs: number;
}

/** Connects, reads everything, and follows. Raises `RegistryError("unavailable")` when Redis cannot be used at the start. */
export async function startRedisStore(options: RedisStoreOptions): Promise<LeaseStore> {
  const { clock, random, log, leaseMs = 15_000, maxChanges = 4096, keyPrefix = "remora" } = options;
  const link = await connectRedis({ url: options.url, caPem: options.caPem, random, log });
  const table = createLeaseTable();
  const shards = createShards(keyPrefix);
  const shardByStream = new Map(shards.map((shard) => [shard.keys[2], shard]));
  /** Leases whose heartbeats this replica hears: what it writes back after an outage. */
  const heard = new Map<string, Heard>();
  /** Instances accepted from memory during an outage and not yet written back. */
  const pending = new Set<string>();
  /** Instances that left during an outage. */
  const left = new Map<string, Claim>();
  /** Leases that Redis lost in an outage, and until when their heartbeats may return. */
  const grace = new Map<string, number>();
  let status: StoreStatus = { status: "ok" };
  let sweepFromMonoMs = clock.monoMs() + leaseMs;
  let closed = false;
  let wake: (() => void) | null = null;

  function turn(next: StoreStatus): void {
    status = next;
    if (next.status === "degraded")
      log.warn({ redis: link.address, problem: next.message }, "redis is away; serving and accepting from memory");
    else log.info({ redis: link.address, instances: table.size }, "redis is back; the registry is in step with it");
    options.onStatus?.(next);
  }

  function degrade(error: unknown): void {
    if (closed || status.status === "degraded") return;
    turn({ status: "degraded", since: clock.nowMs(), message: error instanceof Error ? error.message : String(error) });
  }

  /** Runs `shared` while Redis is there; when it is not, or goes away meanwhile, runs `alone`. Refusals pass through. */
  async function sharedOrAlone(shared: () => Promise<void>, alone: () => void): Promise<void> {
    if (status.status === "ok") {
      try {
        return await shared();
      } catch (error) {
        if (error instanceof RegistryError) throw error;
        degrade(error);
      }
    }
    alone();
  }

  async function renewShared(lease: Lease): Promise<void> {
    const args = [
      lease.instanceId,
      lease.identity,
      lease.epoch,
      formatLease(lease),
      leaseMs,
      maxChanges,
      Math.ceil(MAX_LEASES / shards.length),
    ];
    refuse(lease.instanceId, await link.run("renew", shardOf(shards, lease.instanceId).keys, args));
  }

  async function removeShared(instanceId: string, claim: Claim): Promise<void> {
    const args = [instanceId, claim.identity, claim.epoch, maxChanges];
    refuse(instanceId, await link.run("remove", shardOf(shards, instanceId).keys, args));
  }

  function hear(lease: Lease, load: Load): void {
    heard.set(lease.instanceId, { lease, load, atMonoMs: clock.monoMs() });
    left.delete(lease.instanceId);
  }

  /** Only changes of the lease go through the stream; load and time of a lease that is already mirrored are noted here. */
  function noteLoad(lease: Lease, load: Load): void {
    if (table.get(lease.instanceId)?.text === formatLease(lease)) table.put(lease, load, clock.monoMs());
  }

  function acceptAlone(lease: Lease, load: Load): void {
    const known = table.get(lease.instanceId);
    refuseTakeover(known?.lease, lease);
    if (known === undefined && table.size >= MAX_LEASES)
      throw new RegistryError("overloaded", `the registry holds its most, ${MAX_LEASES} instances`);
    table.put(lease, load, clock.monoMs());
    hear(lease, load);
    pending.add(lease.instanceId);
  }

  function removeAlone(instanceId: string, claim: Claim): void {
    refuseTakeover(table.get(instanceId)?.lease, claim);
    forget(instanceId);
    if (left.size < MAX_LEASES) left.set(instanceId, claim); // past the bound: Redis forgets it by itself, nobody renews it
  }

  function forget(instanceId: string): void {
    table.delete(instanceId);
    heard.delete(instanceId);
    pending.delete(instanceId);
    grace.delete(instanceId);
  }

  function applyText(text: string): string | null {
    try {
      const lease = parseLease(text);
      table.put(lease, heard.get(lease.instanceId)?.load ?? null, clock.monoMs());
      grace.delete(lease.instanceId);
      return lease.instanceId;
    } catch (error) {
      log.warn({ problem: (error as Error).message }, "ignoring a lease in redis that is no lease");
      return null;
    }
  }

  /** False: an entry is missing before this one. */
  function applyEntry(shard: Shard, { id, fields }: StreamEntry): boolean {
    shard.cursor = id;
    const sequence = Number(fields.get("seq"));
    if (sequence !== shard.sequence + 1) return false;
    shard.sequence = sequence;
    if (fields.get("op") === "set") applyText(fields.get("lease") ?? "");
    else forget(fields.get("id") ?? "");
    return true;
  }

  /**
   * Replaces one shard of the mirror. What the mirror has and Redis has not goes at once; after a lease time when `outage`, or when Redis has
   * forgotten things, which a sequence that went back shows.
   */
  async function mirror(shard: Shard, outage: boolean): Promise<void> {
    const [sequence, newest, texts] = (await link.run("snapshot", shard.keys, [])) as [string, string, string[]]; // as SNAPSHOT_SCRIPT answers
    const graceful = outage || Number(sequence) < shard.sequence;
    shard.sequence = Number(sequence);
    shard.cursor = newest;
    const present = new Set(texts.filter((text) => !isPending(text)).map(applyText));
    for (const { lease } of [...table.all()]) {
      const id = lease.instanceId;
      if (shardOf(shards, id) !== shard || present.has(id) || pending.has(id)) continue;
      if (graceful) grace.set(id, clock.monoMs() + leaseMs);
      else forget(id);
    }
  }

  /** What this replica accepted by itself is newer than what Redis remembers. */
  function isPending(text: string): boolean {
    if (pending.size === 0) return false;
    const held = instanceIdIn(text);
    return held !== null && pending.has(held);
  }

  async function writeBack(ids: readonly string[]): Promise<void> {
    for (let at = 0; at < ids.length; at += WRITE_BACK_AT_ONCE) {
      await Promise.all(ids.slice(at, at + WRITE_BACK_AT_ONCE).map(writeBackOne));
    }
  }

  async function writeBackOne(id: string): Promise<void> {
    const entry = heard.get(id);
    try {
      if (entry !== undefined) await renewShared(entry.lease);
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error;
      log.info({ instance: id, problem: error.message }, "an instance accepted from memory is refused by redis");
      heard.delete(id);
    }
    if (heard.get(id) === entry) pending.delete(id); // else it was renewed meanwhile and goes again
  }

  async function removeLeft(): Promise<void> {
    for (const [id, claim] of [...left]) {
      await removeShared(id, claim).catch((error: unknown) => {
        if (!(error instanceof RegistryError)) throw error;
      });
      left.delete(id);
    }
  }

  async function catchUp(): Promise<void> {
    await link.check();
    const since = clock.monoMs() - leaseMs;
    await removeLeft();
    await writeBack([...heard.values()].filter((entry) => entry.atMonoMs >= since).map((entry) => entry.lease.instanceId));
    for (const shard of shards) await mirror(shard, true);
    while (pending.size + left.size > 0) {
      await removeLeft();
      await writeBack([...pending]);
    }
    // Nothing was awaited since the loop's check: whatever is accepted from here on goes to Redis.
    sweepFromMonoMs = clock.monoMs() + leaseMs;
    if (status.status === "degraded") turn({ status: "ok" });
  }

  async function follow(): Promise<void> {
    const entries = await link.read(new Map(shards.map((shard) => [shard.keys[2], shard.cursor])), BLOCK_MS);
    const behind = new Set<Shard>();
    for (const entry of entries) {
      const shard = shardByStream.get(entry.stream);
      if (shard !== undefined && !behind.has(shard) && !applyEntry(shard, entry)) behind.add(shard);
    }
    for (const shard of behind) {
      log.info({ stream: shard.keys[2] }, "changes were missed; reading the shard again");
      await mirror(shard, false);
    }
  }

  function pause(attempt: number): Promise<void> {
    const ceiling = Math.min(RETRY_MOST_MS, RETRY_LEAST_MS * 2 ** Math.min(attempt, 10));
    return new Promise((resolve) => {
      const timer = clock.after(ceiling * (0.5 + random() / 2), resolve);
      wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  async function run(): Promise<void> {
    let attempt = 0;
    while (!closed) {
      try {
        if (status.status === "degraded") await catchUp();
        await follow();
        attempt = 0;
      } catch (error) {
        degrade(error);
        await pause(attempt++);
      }
    }
  }

  try {
    await catchUp();
  } catch (cause) {
    await link.close();
    throw new RegistryError(
      "unavailable",
      `Redis at ${link.address} is needed in cluster mode and cannot be used: ${(cause as Error).message}`,
      { cause },
    );
  }
  const running = run();

  return {
    kind: "redis",
    leases: table,
    async renew(lease, load) {
      await sharedOrAlone(
        async () => {
          await renewShared(lease);
          hear(lease, load);
          noteLoad(lease, load);
        },
        () => acceptAlone(lease, load),
      );
    },
    async remove(instanceId, claim) {
      await sharedOrAlone(
        async () => {
          await removeShared(instanceId, claim);
          heard.delete(instanceId);
        },
        () => removeAlone(instanceId, claim),
      );
    },
    async sweep() {
      const now = clock.monoMs();
      if (status.status === "degraded") return 0; // nobody can tell a dead instance from one that another replica hears
      const lost = [...grace].filter(([, untilMonoMs]) => untilMonoMs <= now).map(([id]) => id);
      for (const id of lost) forget(id);
      if (now < sweepFromMonoMs) return lost.length;
      try {
        const ended = await Promise.all(shards.map((shard) => link.run("sweep", shard.keys, [maxChanges, SWEEP_AT_ONCE])));
        return ended.reduce((sum: number, count) => sum + Number(count), lost.length);
      } catch (error) {
        degrade(error);
        return lost.length;
      }
    },
    status: () => status,
    async close() {
      closed = true;
      wake?.();
      await link.close();
      await running;
    },
  };
}

function refuse(instanceId: string, reply: unknown): void {
  const [outcome] = reply as [string]; // as the scripts answer
  switch (outcome) {
    case "ok":
      return;
    case "other_identity":
      throw new RegistryError("forbidden", `instance ${instanceId} belongs to another identity`);
    case "newer_process":
      throw new RegistryError("forbidden", `instance ${instanceId} is held by a newer process`);
    case "full":
      throw new RegistryError("overloaded", `the registry holds its most, ${MAX_LEASES} instances`);
    default:
      throw new RegistryError("unavailable", `unexpected answer of a script: ${String(outcome).slice(0, 80)}`);
  }
}

function instanceIdIn(text: string): string | null {
  try {
    return parseLease(text).instanceId;
  } catch {
    return null;
  }
}
