// The mirror of Redis in this replica's memory, which all questions are answered from. It changes only by what the change streams say, entry by
// entry; where entries are missing, a shard is read whole. What Redis lost is not taken for dead: see the grace below.
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import { parseLease } from "../announcement.ts";
import type { Lease } from "../lease.ts";
import type { LeaseTable } from "../lease-table.ts";
import type { Calls, ShardSnapshot } from "./calls.ts";
import type { HeardLeases } from "./heard.ts";
import type { RedisLink, StreamEntry } from "./link.ts";
import type { Shard } from "./shards.ts";
import { shardOf } from "./shards.ts";

/** The mirror. Its methods are for one caller at a time per shard. */
export interface Mirror {
  /** Puts what Redis holds for an instance; ignores what is no lease. Returns the instance. */
  apply(text: string): string | null;
  /** Applies entries in order; a shard with a gap is marked `suspect`. */
  applyEntries(entries: readonly StreamEntry[]): void;
  /** Reads what the shard's stream has after what was read last. False: that cannot be told any more, the shard must be read whole. */
  resume(shard: Shard): Promise<boolean>;
  /**
   * Replaces one shard. What the mirror has and Redis has not goes at once; when Redis was away (`isOutage`) or has forgotten things, it has a lease
   * time to come back.
   */
  reload(shard: Shard, isOutage: boolean): Promise<void>;
  forget(instanceId: string): void;
  /** Redis has the instance as the mirror has it. */
  keep(instanceId: string): void;
  /** Forgets what did not come back in its grace. Returns how many. */
  endGrace(): number;
}

/** Parts of {@link createMirror}. */
export interface MirrorOptions {
  readonly table: LeaseTable;
  readonly shards: readonly Shard[];
  readonly heard: HeardLeases;
  readonly calls: Calls;
  readonly link: Pick<RedisLink, "read">;
  readonly clock: Clock;
  readonly log: Logger;
  readonly leaseMs: number;
}

/** Makes a mirror that has read nothing. */
export function createMirror({ table, shards, heard, calls, link, clock, log, leaseMs }: MirrorOptions): Mirror {
  const shardByStream = new Map(shards.map((shard) => [shard.keys[2], shard]));
  /** Leases that Redis lost, and until when their heartbeats may return. */
  const grace = new Map<string, number>();

  function read(text: string): Lease | null {
    try {
      return parseLease(text);
    } catch (error) {
      log.warn({ problem: (error as Error).message }, "ignoring a lease in redis that is no lease");
      return null;
    }
  }

  /** What this replica accepted by itself, or heard leaving, is newer than what Redis remembers. */
  function isOutdated({ instanceId, epoch }: Lease): boolean {
    return heard.pending.has(instanceId) || epoch <= (heard.left.get(instanceId)?.epoch ?? -1);
  }

  function put(lease: Lease): void {
    table.put(lease, heard.get(lease.instanceId)?.load ?? null, clock.monoMs());
    grace.delete(lease.instanceId);
  }

  function forget(instanceId: string): void {
    table.delete(instanceId);
    heard.forget(instanceId);
    grace.delete(instanceId);
  }

  /** False: an entry is missing before this one. */
  function applyEntry(shard: Shard, { id, fields }: StreamEntry): boolean {
    shard.cursor = id;
    const sequence = Number(fields.get("seq"));
    if (sequence !== shard.sequence + 1) return false;
    shard.sequence = sequence;
    const instanceId = fields.get("id") ?? "";
    const op = fields.get("op");
    if (op === "set") {
      const lease = read(fields.get("lease") ?? "");
      grace.delete(instanceId);
      if (lease !== null && !isOutdated(lease)) put(lease);
    } else if (op === "del") leave(instanceId, Number(fields.get("epoch")));
    else end(instanceId);
    return true;
  }

  /** A process of before that left says nothing about the one that is heard here. */
  function leave(instanceId: string, epoch: number): void {
    const entry = heard.get(instanceId);
    if (entry !== undefined && entry.lease.epoch > epoch) heard.pending.add(instanceId);
    else forget(instanceId);
  }

  /** Redis ended the lease because it heard no heartbeat. When this replica did, it was cut off, and writes it back. */
  function end(instanceId: string): void {
    if (heard.isFresh(instanceId)) heard.pending.add(instanceId);
    else forget(instanceId);
  }

  function lose(instanceId: string, isOutage: boolean): void {
    if (heard.isFresh(instanceId)) heard.pending.add(instanceId);
    if (isOutage || !grace.has(instanceId)) grace.set(instanceId, clock.monoMs() + leaseMs);
  }

  /** A shard that nobody wrote to yet has no generation; a sweep gives it one, so that it can be told later whether it is the same. */
  async function snapshotOf({ keys }: Shard): Promise<ShardSnapshot> {
    const snapshot = await calls.snapshot(keys);
    if (snapshot.generation !== "") return snapshot;
    await calls.sweep(keys, 0);
    return calls.snapshot(keys);
  }

  function applyEntries(entries: readonly StreamEntry[]): void {
    for (const entry of entries) {
      const shard = shardByStream.get(entry.stream);
      if (shard !== undefined && !shard.suspect && !applyEntry(shard, entry)) shard.suspect = true;
    }
  }

  return {
    applyEntries,
    forget,
    keep: (instanceId) => void grace.delete(instanceId),
    apply(text) {
      const lease = read(text);
      if (lease !== null) put(lease);
      return lease?.instanceId ?? null;
    },
    async resume(shard) {
      if (shard.generation === "" || shard.cursor === "0-0") return false;
      const state = await calls.resume(shard);
      // The entry that was read last is still there: this server has everything that the mirror has, whichever server it is.
      if (state.generation !== shard.generation || state.atCursor !== shard.sequence) return false;
      shard.suspect = false;
      while (shard.sequence < state.sequence) {
        const entries = await link.read(new Map([[shard.keys[2], shard.cursor]]), 0);
        applyEntries(entries);
        if (entries.length === 0 || shard.suspect) return false;
      }
      return true;
    },
    async reload(shard, isOutage) {
      const { generation, sequence, newest, isWhole, texts } = await snapshotOf(shard);
      const hasForgotten = sequence < shard.sequence || (shard.generation !== "" && generation !== shard.generation);
      Object.assign(shard, { generation, sequence, cursor: newest, suspect: false });
      const present = new Set<string>();
      for (const text of texts) {
        const lease = read(text);
        if (lease === null) continue;
        present.add(lease.instanceId);
        if (!isOutdated(lease)) put(lease);
      }
      for (const { lease } of [...table.all()]) {
        const id = lease.instanceId;
        if (shardOf(shards, id) !== shard || present.has(id) || heard.pending.has(id)) continue;
        if (isOutage || hasForgotten || !isWhole) lose(id, isOutage);
        else forget(id);
      }
    },
    endGrace() {
      const now = clock.monoMs();
      const over = [...grace].filter(([, untilMonoMs]) => untilMonoMs <= now).map(([id]) => id);
      const gone = over.filter((id) => !heard.isFresh(id));
      for (const id of over) grace.delete(id);
      for (const id of gone) forget(id);
      return gone.length;
    },
  };
}
