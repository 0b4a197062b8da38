// What is asked of a Redis once, at the start: is it new enough, may this user do all that the store does, on every master, and may the server throw
// keys away. Whoever sets up a control plane should read here what is missing, not in an outage.
import { randomUUID } from "node:crypto";
import { RegistryError } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { parseSpiffeId } from "../../core/spiffe.ts";
import { parseAnnouncement } from "../announcement.ts";
import { formatLease } from "../lease.ts";
import { createCalls } from "./calls.ts";
import type { RedisLink } from "./link.ts";
import type { Shard, ShardKeys } from "./shards.ts";
import { SHARDS, shardKeys } from "./shards.ts";

/** The oldest version with what the store uses: streams, ACL, scripts replicated by their effects. */
const OLDEST_VERSION = [6, 2] as const;
const KEEP_SECONDS = 60;

/** What a user of the store needs, as `ACL SETUSER` takes it, for keys that start with `remora`. */
export const REDIS_ACL =
  "~remora:* +@hash +@sortedset +@stream +eval +evalsha +expire +time +ping +role +info +select +asking +client|setname +cluster|slots";

/** Raises `RegistryError("unavailable")` that says what is missing. The link is connected. */
export async function probeRedis(link: RedisLink, keyPrefix: string, log: Logger): Promise<void> {
  await checkServer(link, log);
  const calls = createCalls({ link, shards: SHARDS, leaseMs: 1000, maxChanges: 1, keepSeconds: KEEP_SECONDS });
  const instanceId = randomUUID();
  const identity = parseSpiffeId("spiffe://remora.io/ns/remora-system/sa/probe");
  const { lease } = parseAnnouncement({ instanceId, epoch: 1, addresses: ["127.0.0.1"] }, identity);

  async function probeShard(keys: ShardKeys): Promise<void> {
    const shard: Shard = { keys, generation: "", sequence: 0, cursor: "0-1", suspect: false };
    await calls.renew(keys, lease, formatLease(lease), 1000, false);
    await calls.snapshot(keys);
    await calls.resume(shard);
    await link.read(new Map([[keys[2], "0-0"]]), 0);
    await calls.remove(keys, instanceId, lease);
    await calls.sweep(keys, 1);
  }

  try {
    // One after another: the first of them loads the scripts.
    for (let at = 0; at < SHARDS; at += 1) await probeShard(shardKeys(keyPrefix, at, "probe-"));
  } catch (cause) {
    const { message } = cause as Error;
    if (!/NOPERM|ACL failure|can't run this command|can't access at least one of the keys|No permissions/i.test(message)) throw cause;
    throw new RegistryError("unavailable", `the user lacks a permission: ${message}; it needs ${REDIS_ACL}`, { cause });
  }
}

/** A user that may not ask `INFO` is spared these questions. */
async function checkServer(link: RedisLink, log: Logger): Promise<void> {
  const info = await link.ask("INFO").catch((error: Error) => {
    if (/NOPERM|unknown command/i.test(error.message)) return "";
    throw error;
  });
  const known = new Map(String(info).split("\r\n").map(readLine));
  const version = known.get("redis_version") ?? "";
  if (version !== "" && isOlder(version)) {
    throw new RegistryError("unavailable", `its version ${version} is too old, ${OLDEST_VERSION.join(".")} or later is needed`);
  }
  const policy = known.get("maxmemory_policy") ?? "noeviction";
  if (policy !== "noeviction" && known.get("maxmemory") !== "0") {
    log.warn(
      { redis: link.address, policy },
      "redis may evict leases when it is full; give the registry a server with maxmemory-policy noeviction",
    );
  }
}

function readLine(line: string): readonly [string, string] {
  const at = line.indexOf(":");
  return [line.slice(0, at), line.slice(at + 1)];
}

function isOlder(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major < OLDEST_VERSION[0] || (major === OLDEST_VERSION[0] && minor < OLDEST_VERSION[1]);
}
