// The Lua scripts of the Redis store. Each works on one shard and is atomic: the lease, its expiry and the note in the change stream are written
// together or not at all. Time is the server's, so that replicas with different clocks agree on what has expired.
//
// KEYS of every script: 1 hash instance id -> lease text, 2 sorted set instance id by expiry (server ms), 3 change stream, 4 sequence number.
// Every entry of the stream carries the next sequence number: a reader that sees a gap knows that it missed something.

const NOW = `
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function live(id)
  local text = redis.call('HGET', KEYS[1], id)
  local due = text and redis.call('ZSCORE', KEYS[2], id)
  if due and tonumber(due) > now then return cjson.decode(text) end
  return nil
end
local function note(most, op, id, text)
  local seq = redis.call('INCR', KEYS[4])
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', most, '*', 'seq', seq, 'op', op, 'id', id, 'lease', text)
end
`;

/**
 * ARGV: instance id, identity, epoch, lease text, lease ms, stream length, most leases of a shard.
 * Answers `ok`, `full`, `other_identity` or `newer_process`. What nobody renews for a day cleans itself up, also without a control plane.
 */
export const RENEW_SCRIPT = `${NOW}
local id, identity, epoch, text = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local held = live(id)
if held and held.identity ~= identity then return {'other_identity'} end
if held and held.epoch > epoch then return {'newer_process'} end
local before = redis.call('HGET', KEYS[1], id)
if not before and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[7]) then return {'full'} end
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[5]), id)
if before ~= text then
  redis.call('HSET', KEYS[1], id, text)
  note(ARGV[6], 'set', id, text)
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, 86400) end
return {'ok'}
`;

/** ARGV: instance id, identity, epoch, stream length. */
export const REMOVE_SCRIPT = `${NOW}
local id = ARGV[1]
local held = live(id)
if held and held.identity ~= ARGV[2] then return {'other_identity'} end
if held and held.epoch > tonumber(ARGV[3]) then return {'newer_process'} end
redis.call('ZREM', KEYS[2], id)
if redis.call('HDEL', KEYS[1], id) == 1 then note(ARGV[4], 'del', id, '') end
return {'ok'}
`;

/** ARGV: stream length, most to end at once. Answers how many ended. */
export const SWEEP_SCRIPT = `${NOW}
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, id in ipairs(due) do
  redis.call('ZREM', KEYS[2], id)
  if redis.call('HDEL', KEYS[1], id) == 1 then note(ARGV[1], 'del', id, '') end
end
return #due
`;

/** Answers the sequence number, the id of the newest entry of the stream, and every lease text. */
export const SNAPSHOT_SCRIPT = `
local newest = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
return {redis.call('GET', KEYS[4]) or '0', newest[1] and newest[1][1] or '0-0', redis.call('HVALS', KEYS[1])}
`;
