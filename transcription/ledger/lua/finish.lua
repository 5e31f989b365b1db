-- Commit a span; the last one completes the computation.
-- ARGV: computation, index, token, ms of audio, of decoding, of voice activity detection, of computing.
-- Returns the state of the lease, or 'completed' when it was the last.
local cid, i, token = unpack(ARGV)
local audio_ms, decode_ms, vad_ms, compute_ms = num(ARGV[4]), num(ARGV[5]), num(ARGV[6]), num(ARGV[7])
local found = lease_state(cid, i, token)
if found ~= 'held' then return found end
local key, comp = k('span', cid, i), k('comp', cid)
local span = hash(key)
end_run(cid, i, 'done')
redis.call('HINCRBY', comp, 'done', math.floor(length_of(span)) - num(span.done))
redis.call('HSET', key, 'done', length_of(span))
redis.call('HINCRBY', comp, 'compute_ms', decode_ms + vad_ms + compute_ms)
redis.call('HINCRBY', k('stats'), 'audio_ms', audio_ms)
redis.call('HINCRBY', k('stats'), 'decode_ms', decode_ms)
redis.call('HINCRBY', k('stats'), 'vad_ms', vad_ms)
redis.call('HINCRBY', k('stats'), 'compute_ms', compute_ms)
audit('finished', 'comp', cid, 'span', i, 'token', token, 'worker', span.worker)
if redis.call('HINCRBY', comp, 'spans_done', 1) == num(redis.call('HGET', comp, 'spans')) then
  if not covered(cid) then return start_over(cid) end
  move(cid, 'completed')
  return 'completed'
end
publish_progress(cid, 'progress')
promote(cid)
return found
