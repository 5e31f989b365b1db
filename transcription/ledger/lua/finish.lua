-- Commit a span; the last one completes the computation. Who is who can only be said of all that was heard: after the
-- spans of a diarization comes one more, of no length.
-- ARGV: computation, index, token, ms of audio, of decoding, of voice activity detection, of computing, windows that
-- the span has ('' where that isn't known).
-- Returns the state of the lease, or 'completed' when it was the last. A span of whose windows some aren't there, or
-- whose recording isn't cut, as after a server forgot its last writes, is 'lost' and waits for whoever writes them.
local cid, i, token = unpack(ARGV)
local audio_ms, decode_ms, vad_ms, compute_ms = num(ARGV[4]), num(ARGV[5]), num(ARGV[6]), num(ARGV[7])
local windows = ARGV[8] or ''
local found = lease_state(cid, i, token)
if found ~= 'held' then return found end
local key, comp = k('span', cid, i), k('comp', cid)
if windows ~= '' and not (was_cut(cid, i) and written(cid, i, num(windows))) then return give_up(cid, i, token) end
local span = hash(key)
end_run(cid, i, 'done')
redis.call('HINCRBY', comp, 'done', math.floor(length_of(span)) - num(span.done))
redis.call('HSET', key, 'done', length_of(span))
redis.call('HINCRBY', comp, 'compute_ms', decode_ms + vad_ms + compute_ms)
local diarizes = redis.call('HGET', comp, 'kind') == 'speakers'
if diarizes then
  redis.call('HINCRBY', k('stats'), 'diarize_ms', decode_ms + vad_ms + compute_ms)
else
  redis.call('HINCRBY', k('stats'), 'audio_ms', audio_ms)
  redis.call('HINCRBY', k('stats'), 'decode_ms', decode_ms)
  redis.call('HINCRBY', k('stats'), 'vad_ms', vad_ms)
  redis.call('HINCRBY', k('stats'), 'compute_ms', compute_ms)
end
audit('finished', 'comp', cid, 'span', i, 'token', token, 'worker', span.worker)
if redis.call('HINCRBY', comp, 'spans_done', 1) == num(redis.call('HGET', comp, 'spans')) then
  if not covered(cid) then return start_over(cid) end
  if diarizes and redis.call('HSETNX', comp, 'closing', 1) == 1 then
    local last, ends = redis.call('HINCRBY', comp, 'spans', 1) - 1, redis.call('HGET', comp, 'duration')
    redis.call('HSET', k('span', cid, last), 'start', ends, 'end', ends, 'speech', '[]', 'done', 0, 'windows', 0,
      'attempts', 0)
    enqueue(cid, last)
    publish_progress(cid, 'progress')
    return 'closing'
  end
  move(cid, 'completed')
  return 'completed'
end
publish_progress(cid, 'progress')
promote(cid)
return found
