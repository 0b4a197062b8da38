// Where in Redis an instance is kept: one of a fixed number of shards, each with keys that share a hash tag, so that a script may use them together
// and a Redis Cluster spreads the shards. How far this replica has read each shard is kept beside it.

/** Fixed for good: another number would look for leases where they are not. */
export const SHARDS = 16;

/** The keys of one shard, in the order of the scripts. */
export type ShardKeys = readonly [leases: string, expiry: string, changes: string, state: string];

/** One shard. */
export interface Shard {
  readonly keys: ShardKeys;
  /** Of what Redis knew when this replica last read; empty: unknown. */
  generation: string;
  /** Sequence number of the last change in the mirror. */
  sequence: number;
  /** Id of the last stream entry read. */
  cursor: string;
  /** True: a sweep saw that the mirror cannot be in step; it is read again. */
  suspect: boolean;
}

/** All shards of one mesh. */
export function createShards(prefix: string): readonly Shard[] {
  return Array.from({ length: SHARDS }, (_, at) => ({
    keys: shardKeys(prefix, at),
    generation: "",
    sequence: 0,
    cursor: "0-0",
    suspect: false,
  }));
}

/** The keys of shard `at`; `kind` is put before the name of each. */
export function shardKeys(prefix: string, at: number, kind = ""): ShardKeys {
  const key = (part: string) => `${prefix}:{${prefix}-${at}}:${kind}${part}`;
  return [key("leases"), key("expiry"), key("changes"), key("state")];
}

/** The shard of an instance. FNV-1a over the id: stable across replicas and versions. */
export function shardOf(shards: readonly Shard[], instanceId: string): Shard {
  let hash = 0x811c9dc5;
  for (let at = 0; at < instanceId.length; at += 1) hash = Math.imul(hash ^ instanceId.charCodeAt(at), 0x01000193);
  const shard = shards[(hash >>> 0) % shards.length];
  if (shard === undefined) throw new RangeError("a store has at least one shard");
  return shard;
}
