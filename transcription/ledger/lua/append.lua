-- Write one window's segments: a checkpoint, and a sign of progress.
-- ARGV: computation, index, token, lease ms, window, segments (JSON), ms of the span that are done now,
-- warnings (a line each: code, JSON), the window's language where it was told ('' else): who goes on begins with it.
-- A window that is there already changes nothing; before one that leaves a gap, or of a recording that isn't cut,
-- because the server forgot what came before, the span is 'lost' and waits for whoever writes that.
local cid, i, token, lease_ms, window, segments, done_ms, warnings, language = unpack(ARGV)
local found = lease_state(cid, i, token)
if found ~= 'held' then return found end
local key = k('span', cid, i)
redis.call('ZADD', k('leases'), now() + num(lease_ms), cid .. '/' .. i)
local windows = num(redis.call('HGET', key, 'windows'))
if windows < num(window) or not was_cut(cid, i) then return give_up(cid, i, token) end
if windows > num(window) then return found end
local done = num(redis.call('HGET', key, 'done'))
redis.call('RPUSH', k('segs', cid, i), segments)
redis.call('HSET', key, 'windows', num(window) + 1, 'done', done_ms)
if (language or '') ~= '' then redis.call('HSET', key, 'language', language) end
redis.call('HDEL', key, 'faults', 'faulting', 'avoid')
note_left(key, true)
acquit(cid, i, num(window) + 1)
redis.call('HINCRBY', k('comp', cid), 'done', num(done_ms) - done)
add_warnings(cid, warnings or '')
publish_progress(cid, 'window', 'span', i, 'window', window)
return found
