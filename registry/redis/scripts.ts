// The Lua scripts of the Redis store. Each works on one shard and is atomic: the lease, its expiry and the note in the change stream are written
// together or not at all.
//
// KEYS of every script: 1 hash instance id -> lease text, 2 sorted set instance id by expiry, 3 change stream, 4 state (a hash):
//   generation   made when the state is; another one tells replicas that Redis has forgotten what it knew
//   sequence     of the newest entry of the stream; a reader that sees a gap knows that it missed something
//   clock, wall  the shard's own clock (ms), and the server's wall clock when it last moved
//
// Time is the server's, so that replicas with different clocks agree on what has expired. But a server's wall clock may step, and after a failover
// it is another server's. So a shard has a clock of its own, which moves by what the wall clock moved since the last call (each second at least,
// by the sweeps): never back, and never by more than a bound at once. A step of the wall clock, however large, thus neither ends nor revives leases.

/** ARGV 1..4 of every script that writes: lease ms, most ms that the shard's clock moves at once, stream length, seconds that the keys are kept. */
const PRELUDE = `
local leaseMs, boundMs, mostChanges, keepSeconds = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local time = redis.call('TIME')
local wall = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local state = redis.call('HMGET', KEYS[4], 'clock', 'wall')
local clock, lastWall = tonumber(state[1]), tonumber(state[2])
if clock == nil or lastWall == nil then
  clock = wall
  redis.call('HSET', KEYS[4], 'generation', time[1] .. '.' .. time[2], 'sequence', 0, 'clock', clock, 'wall', wall)
  redis.call('EXPIRE', KEYS[4], keepSeconds)
  for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do redis.call('ZADD', KEYS[2], clock + leaseMs, id) end
else
  local passed = math.max(0, math.min(wall - lastWall, boundMs))
  clock = clock + passed
  if passed >= 50 or passed ~= wall - lastWall then redis.call('HSET', KEYS[4], 'clock', clock, 'wall', wall) end
end
local function note(op, id, epoch, text)
  local sequence = redis.call('HINCRBY', KEYS[4], 'sequence', 1)
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', mostChanges, '*', 'seq', sequence, 'op', op, 'id', id, 'epoch', epoch, 'lease', text)
end
local function refusal(text, due, identity, epoch)
  if not text or not due or due <= clock then return nil end
  local readable, held = pcall(cjson.decode, text)
  if not readable or type(held) ~= 'table' then return nil end
  if held.identity ~= identity then return 'other_identity' end
  if (tonumber(held.epoch) or 0) > epoch then return 'newer_process' end
  return nil
end
`;

/**
 * ARGV 5..: instance id, identity, epoch, lease text, ms that the lease lasts from now, `1` when it is written back after an outage, most leases.
 * Answers `ok`, `full`; or `other_identity`, `newer_process` with the text that is held; or `kept` with that text: what is written back is
 * older than what another replica heard. The usual heartbeat changes nothing but its expiry.
 */
export const RENEW_SCRIPT = `${PRELUDE}
local id, identity, epoch, text, ends = ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8], clock + tonumber(ARGV[9])
local before = redis.call('HGET', KEYS[1], id)
local due = tonumber(redis.call('ZSCORE', KEYS[2], id))
if before ~= text then
  local why = refusal(before, due, identity, epoch)
  if why then return {why, before} end
  if ARGV[10] == '1' and before and due and due >= ends then return {'kept', before} end
  if not before and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[11]) then return {'full'} end
  redis.call('HSET', KEYS[1], id, text)
  note('set', id, ARGV[7], text)
end
if ARGV[10] ~= '1' or not due or due < ends then redis.call('ZADD', KEYS[2], ends, id) end
return {'ok'}
`;

/** ARGV 5..: instance id, identity, epoch. Answers as {@link RENEW_SCRIPT} does. */
export const REMOVE_SCRIPT = `${PRELUDE}
local id = ARGV[5]
local before = redis.call('HGET', KEYS[1], id)
local why = refusal(before, tonumber(redis.call('ZSCORE', KEYS[2], id)), ARGV[6], tonumber(ARGV[7]))
if why then return {why, before} end
if redis.call('ZREM', KEYS[2], id) + redis.call('HDEL', KEYS[1], id) > 0 then note('del', id, ARGV[7], '') end
return {'ok'}
`;

/**
 * ARGV 5: most leases to end at once. Answers how many ended, the generation and the sequence number. A server that evicts keys may take any of
 * ours: leases without an expiry get a new one, an expiry without its lease still tells everybody that it has ended.
 */
export const SWEEP_SCRIPT = `${PRELUDE}
if redis.call('HLEN', KEYS[1]) > redis.call('ZCARD', KEYS[2]) then
  for _, id in ipairs(redis.call('HKEYS', KEYS[1])) do
    if not redis.call('ZSCORE', KEYS[2], id) then redis.call('ZADD', KEYS[2], clock + leaseMs, id) end
  end
end
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', clock, 'LIMIT', 0, ARGV[5])
for _, id in ipairs(due) do
  redis.call('ZREM', KEYS[2], id)
  redis.call('HDEL', KEYS[1], id)
  note('end', id, 0, '')
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, keepSeconds) end
local known = redis.call('HMGET', KEYS[4], 'generation', 'sequence')
return {#due, known[1], known[2]}
`;

/** No ARGV. Answers generation, sequence number, id of the newest entry of the stream, `1` when no lease is missing, and every lease text. */
export const SNAPSHOT_SCRIPT = `
local known = redis.call('HMGET', KEYS[4], 'generation', 'sequence')
local newest = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
local whole = redis.call('HLEN', KEYS[1]) >= redis.call('ZCARD', KEYS[2])
return {known[1] or '', known[2] or '0', newest[1] and newest[1][1] or '0-0', whole and '1' or '0', redis.call('HVALS', KEYS[1])}
`;

/** ARGV 1: id of the last entry that was read. Answers generation, sequence number, and the sequence number in that entry, empty when it is gone. */
export const RESUME_SCRIPT = `
local known = redis.call('HMGET', KEYS[4], 'generation', 'sequence')
local entry = redis.call('XRANGE', KEYS[3], ARGV[1], ARGV[1])[1]
return {known[1] or '', known[2] or '0', entry and entry[2][2] or ''}
`;

/** The scripts, by the name they are called. */
export const SCRIPTS = {
  renew: RENEW_SCRIPT,
  remove: REMOVE_SCRIPT,
  sweep: SWEEP_SCRIPT,
  snapshot: SNAPSHOT_SCRIPT,
  resume: RESUME_SCRIPT,
} as const;

/** A script's name. */
export type ScriptName = keyof typeof SCRIPTS;
