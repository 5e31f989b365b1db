-- Write one window's segments: a checkpoint, and a sign of progress.
-- ARGV: computation, index, token, lease ms, window, segments (JSON), ms of the span that are done now.
local cid, i, token, window = ARGV[1], ARGV[2], ARGV[3], num(ARGV[5])
local found = standing(cid, i, token)
if found ~= 'held' then return found end
local key = k('span', cid, i)
redis.call('ZADD', k('leases'), now() + num(ARGV[4]), cid .. '/' .. i)
if num(redis.call('HGET', key, 'windows')) ~= window then return found end
local done = num(redis.call('HGET', key, 'done'))
redis.call('RPUSH', k('segs', cid, i), ARGV[6])
redis.call('HSET', key, 'windows', window + 1, 'done', ARGV[7])
redis.call('HINCRBY', k('comp', cid), 'done', num(ARGV[7]) - done)
tell_progress(cid, 'window', 'span', i, 'window', window)
return found
