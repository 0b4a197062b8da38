// Where in Redis an instance is kept: one of a fixed number of shards, each with keys that share a hash tag, so that a script may use them together
// and a Redis Cluster spreads the shards. How far this replica has read each shard is kept beside it.

/** Fixed for good: another number would look for leases where they are not. */
const SHARDS = 16;

/** One shard. */
export interface Shard {
  readonly keys: readonly [leases: string, expiry: string, changes: string, sequence: string];
  /** Sequence number of the last change in the mirror. */
  sequence: number;
  /** Id of the last stream entry read. */
  cursor: string;
}

/** All shards of one mesh. */
export function createShards(prefix: string): readonly Shard[] {
  return Array.from({ length: SHARDS }, (_, at) => createShard(prefix, at));
}

function createShard(prefix: string, at: number): Shard {
  const key = (part: string) => `${prefix}:{${prefix}-${at}}:${part}`;
  return { keys: [key("leases"), key("expiry"), key("changes"), key("sequence")], sequence: 0, cursor: "0-0" };
}

/** The shard of an instance. FNV-1a over the id: stable across replicas and versions. */
export function shardOf(shards: readonly Shard[], instanceId: string): Shard {
  let hash = 0x811c9dc5;
  for (let at = 0; at < instanceId.length; at += 1) hash = Math.imul(hash ^ instanceId.charCodeAt(at), 0x01000193);
  const shard = shards[(hash >>> 0) % shards.length];
  if (shard === undefined) throw new RangeError("a store has at least one shard");
  return shard;
}
