// Cluster mode: leases in Redis, mirrored in this replica's memory (design 8). While Redis is there, it decides: renewals, removals and expiry are
// scripts, and the mirror changes only by what the change streams say. While it is away, this replica serves and accepts from its mirror and says
// `degraded`; afterwards it reads what it missed, writes back what it heard and gives every lease that Redis lost a lease time to come back.
//
// Keys are spread over hash-tagged shards by instance id, not by service: an instance may have several services, and who owns an instance must
// be decided atomically, which a Redis Cluster allows within one shard only. A cluster that lost one master is away as a whole until a replica of
// that master has taken over: half a registry would answer questions about services, which are in all shards, in a way that nobody could explain.
import type { Clock } from "../../core/clock.ts";
import { RegistryError } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Secret } from "../../core/secret.ts";
import type { Lease, Load } from "../lease.ts";
import { formatLease } from "../lease.ts";
import type { LeaseStore, StoreStatus } from "../lease-store.ts";
import { MAX_LEASES } from "../lease-store.ts";
import { createLeaseTable, refuseTakeover } from "../lease-table.ts";
import type { RedisLogin } from "./address.ts";
import { parseRedisAddress } from "./address.ts";
import type { Claim } from "./calls.ts";
import { createCalls, refuse } from "./calls.ts";
import type { RedisTls } from "./connector.ts";
import { createHeardLeases } from "./heard.ts";
import type { RedisLink } from "./link.ts";
import { createRedisLink } from "./link.ts";
import { createMirror } from "./mirror.ts";
import { probeRedis } from "./probe.ts";
import type { Shard } from "./shards.ts";
import { createShards, shardOf } from "./shards.ts";
import { createSweeper } from "./sweeper.ts";
import { createWriteBack } from "./write-back.ts";

const BLOCK_MS = 1000;
const RETRY_LEAST_MS = 50;
const RETRY_MOST_MS = 1000;

/** Settings of {@link startRedisStore}. */
export interface RedisStoreOptions {
  /** As {@link parseRedisAddress} reads it. */
  readonly url: Secret;
  /** For `rediss…://`; default: the system's roots and no client certificate. */
  readonly tls?: RedisTls;
  /** For Sentinels that ask for a password. */
  readonly sentinelLogin?: RedisLogin;
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

/** Connects, reads everything, and follows. Raises `RegistryError("unavailable")` when Redis cannot be used at the start. */
export async function startRedisStore(options: RedisStoreOptions): Promise<LeaseStore> {
  const { clock, random, log, leaseMs = 15_000, maxChanges = 4096, keyPrefix = "remora" } = options;
  const address = parseRedisAddress(options.url.reveal());
  const table = createLeaseTable();
  const shards = createShards(keyPrefix);
  const streams = shards.map((shard) => shard.keys[2]);
  const tls = address.tls ? (options.tls ?? {}) : null;
  const link = createRedisLink({ address, tls, sentinelLogin: options.sentinelLogin ?? null, streams, log });
  const calls = createCalls({ link, shards: shards.length, leaseMs, maxChanges });
  const heard = createHeardLeases(clock);
  const mirror = createMirror({ table, shards, heard, calls, link, clock, log, leaseMs });
  const writeBack = createWriteBack({ shards, heard, calls, mirror, log });
  const sweeper = createSweeper({ shards, calls, link, clock, leaseMs });
  let status: StoreStatus = { status: "ok" };
  /** Counts outages, so that an answer that comes too late says nothing about the connections of now. */
  let era = 0;
  let closed = false;
  let wake: (() => void) | null = null;

  function turn(next: StoreStatus): void {
    status = next;
    if (next.status === "degraded")
      log.warn({ redis: link.address, problem: next.message }, "redis is away; serving and accepting from memory");
    else log.info({ redis: link.address, instances: table.size }, "redis is back; the registry is in step with it");
    options.onStatus?.(next);
  }

  /** `since`: the era in which what failed was begun. */
  function degrade(error: unknown, since: number): void {
    if (closed || since !== era || status.status === "degraded") return;
    era += 1;
    turn({ status: "degraded", since: clock.nowMs(), message: error instanceof Error ? error.message : String(error) });
    link.drop();
  }

  /** Runs `shared` while Redis is there; when it is not, or goes away meanwhile, runs `alone`. Refusals pass through. */
  async function sharedOrAlone(shared: () => Promise<void>, alone: () => void): Promise<void> {
    const since = era;
    if (status.status === "ok") {
      try {
        return await shared();
      } catch (error) {
        if (error instanceof RegistryError) throw error;
        degrade(error, since);
      }
    }
    alone();
  }

  async function renewShared(lease: Lease, load: Load, lastsMs: number): Promise<void> {
    const mirrored = table.get(lease.instanceId);
    const text = mirrored?.lease === lease ? mirrored.text : formatLease(lease);
    refuse(lease.instanceId, await calls.renew(shardOf(shards, lease.instanceId).keys, lease, text, lastsMs, false));
    heard.hear(lease, load, lastsMs);
    // Only changes of the lease go through the stream; load and time of a lease that is already mirrored are noted here.
    if (table.get(lease.instanceId)?.text === text) table.put(lease, load, clock.monoMs());
  }

  async function removeShared(instanceId: string, claim: Claim): Promise<void> {
    refuse(instanceId, await calls.remove(shardOf(shards, instanceId).keys, instanceId, claim));
    heard.forget(instanceId);
  }

  function acceptAlone(lease: Lease, load: Load, lastsMs: number): void {
    const known = table.get(lease.instanceId);
    refuseTakeover(known?.lease, lease);
    if (known === undefined && table.size >= MAX_LEASES)
      throw new RegistryError("overloaded", `the registry holds its most, ${MAX_LEASES} instances`);
    table.put(lease, load, clock.monoMs());
    heard.hear(lease, load, lastsMs);
    heard.pending.add(lease.instanceId);
  }

  function removeAlone(instanceId: string, claim: Claim): void {
    refuseTakeover(table.get(instanceId)?.lease, claim);
    mirror.forget(instanceId);
    heard.leave(instanceId, claim);
  }

  async function catchUp(): Promise<void> {
    await link.check();
    // First what was missed, so that what left meanwhile is not written back.
    await Promise.all(shards.map(async (shard) => (await mirror.resume(shard)) || (await mirror.reload(shard, true))));
    await writeBack.settle();
    await writeBack.write(heard.current());
    await writeBack.settle();
    sweeper.postpone();
    if (status.status === "degraded") turn({ status: "ok" });
  }

  /** Follows the shards of one read until Redis goes away. */
  async function follow(group: readonly Shard[], stillTheSame: () => boolean): Promise<void> {
    while (stillTheSame()) {
      for (const shard of group.filter(({ suspect }) => suspect)) {
        log.info({ stream: shard.keys[2] }, "changes were missed; reading the shard again");
        await mirror.reload(shard, false);
      }
      const entries = await link.read(new Map(group.map((shard) => [shard.keys[2], shard.cursor])), BLOCK_MS);
      mirror.applyEntries(entries);
      if (heard.pending.size + heard.left.size > 0) await writeBack.settle();
    }
  }

  async function followAll(since: number): Promise<void> {
    const stillTheSame = () => !closed && era === since;
    const groups = link.together.map((streamsOfGroup) => shards.filter(({ keys }) => streamsOfGroup.includes(keys[2])));
    // Whoever fails ends the era at once; the others end with it, so that nothing is read twice afterwards.
    await Promise.all(groups.map((group) => follow(group, stillTheSame).catch((error: unknown) => degrade(error, since))));
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
      if (status.status === "ok") {
        const fromMonoMs = clock.monoMs();
        await followAll(era);
        if (clock.monoMs() - fromMonoMs > RETRY_MOST_MS) attempt = 0;
        continue;
      }
      await pause(attempt++);
      if (closed) return;
      await catchUp().catch((error: unknown) =>
        log.debug({ redis: link.address, problem: (error as Error).message }, "redis is still away"),
      );
    }
  }

  await startWith(link, async () => {
    await link.check();
    await probeRedis(link, keyPrefix, log);
    await catchUp();
  });
  const running = run();

  return {
    kind: "redis",
    leases: table,
    renew: (lease: Lease, load: Load, lastsMs: number = leaseMs) =>
      sharedOrAlone(
        () => renewShared(lease, load, lastsMs),
        () => acceptAlone(lease, load, lastsMs),
      ),
    remove: (instanceId, claim) =>
      sharedOrAlone(
        () => removeShared(instanceId, claim),
        () => removeAlone(instanceId, claim),
      ),
    async sweep() {
      if (status.status === "degraded") return 0; // nobody can tell a dead instance from one that another replica hears
      const lost = mirror.endGrace();
      const since = era;
      try {
        return lost + (await sweeper.sweep());
      } catch (error) {
        degrade(error, since);
        return lost;
      }
    },
    postpone: () => sweeper.postpone(),
    status: () => status,
    async close() {
      closed = true;
      wake?.();
      link.close();
      await running;
    },
  };
}

async function startWith(link: RedisLink, start: () => Promise<void>): Promise<void> {
  try {
    await start();
  } catch (cause) {
    link.close();
    const { message } = cause as Error;
    throw new RegistryError("unavailable", `Redis at ${link.address} is needed in cluster mode and cannot be used: ${message}`, {
      cause,
      fields: { address: link.address },
    });
  }
}
