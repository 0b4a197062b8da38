// Brings to Redis what this replica knows better: who left and who was heard while it was away, and leases that it lost. What another replica heard
// since stays, and what has left stays away.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Logger } from "../../core/log.ts";
import { formatLease } from "../lease.ts";
import type { Calls } from "./calls.ts";
import type { HeardLeases } from "./heard.ts";
import type { Mirror } from "./mirror.ts";
import type { Shard } from "./shards.ts";
import { shardOf } from "./shards.ts";

const AT_ONCE = 256;

/** The way back. */
export interface WriteBack {
  /** Writes back these instances, each for what is left of its lease. Rejects when Redis goes away; what is not done stays pending. */
  write(instanceIds: readonly string[]): Promise<void>;
  /** Writes back and removes until nothing is left to do. */
  settle(): Promise<void>;
}

/** Makes it. */
export function createWriteBack(parts: {
  readonly shards: readonly Shard[];
  readonly heard: HeardLeases;
  readonly calls: Calls;
  readonly mirror: Mirror;
  readonly log: Logger;
}): WriteBack {
  const { shards, heard, calls, mirror, log } = parts;

  async function writeOne(id: string): Promise<void> {
    const entry = heard.get(id);
    const lastsMs = entry === undefined ? 0 : heard.remainingMs(entry);
    if (entry === undefined || lastsMs <= 0) {
      heard.pending.delete(id);
      return;
    }
    const { outcome, held } = await calls.renew(shardOf(shards, id).keys, entry.lease, formatLease(entry.lease), Math.ceil(lastsMs), true);
    if (heard.get(id) !== entry) return; // renewed meanwhile: it goes again
    heard.pending.delete(id);
    if (outcome === "ok") return mirror.keep(id);
    if (outcome !== "kept") {
      log.info({ instance: id, outcome }, "an instance accepted from memory is refused by redis");
      heard.forget(id);
    }
    if (held !== null) mirror.apply(held);
  }

  async function write(ids: readonly string[]): Promise<void> {
    for (let at = 0; at < ids.length; at += AT_ONCE) {
      await Promise.all(ids.slice(at, at + AT_ONCE).map(writeOne));
      await nextTurn();
    }
  }

  async function removeLeft(): Promise<void> {
    for (const [id, claim] of [...heard.left]) {
      const { held } = await calls.remove(shardOf(shards, id).keys, id, claim);
      heard.settleLeft(id);
      if (held !== null) mirror.apply(held);
    }
  }

  return {
    write,
    async settle() {
      while (heard.pending.size + heard.left.size > 0) {
        await removeLeft();
        await write([...heard.pending]);
      }
    },
  };
}
