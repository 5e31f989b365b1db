-- Commit a span; the last one completes the computation.
-- ARGV: computation, index, token, ms of audio, of decoding, of voice activity detection, of computing.
-- Returns the standing, or 'completed' when it was the last.
local cid, i, token = ARGV[1], ARGV[2], ARGV[3]
local found = standing(cid, i, token)
if found ~= 'held' then return found end
local key, comp = k('span', cid, i), k('comp', cid)
local span = hash(key)
end_run(cid, i, 'done')
redis.call('HINCRBY', comp, 'done', math.floor(length_of(span)) - num(span.done))
redis.call('HSET', key, 'done', length_of(span))
redis.call('HINCRBY', comp, 'compute_ms', num(ARGV[5]) + num(ARGV[6]) + num(ARGV[7]))
redis.call('HINCRBY', k('stats'), 'audio_ms', num(ARGV[4]))
redis.call('HINCRBY', k('stats'), 'decode_ms', num(ARGV[5]))
redis.call('HINCRBY', k('stats'), 'vad_ms', num(ARGV[6]))
redis.call('HINCRBY', k('stats'), 'compute_ms', num(ARGV[7]))
audit('finished', 'comp', cid, 'span', i, 'token', token, 'worker', span.worker)
if redis.call('HINCRBY', comp, 'spans_done', 1) == num(redis.call('HGET', comp, 'spans')) then
  move(cid, 'completed')
  return 'completed'
end
tell_progress(cid, 'progress')
promote(cid)
return found
