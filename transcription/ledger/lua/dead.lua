-- Dead letters. ARGV: 'retry' or 'drop', computation. Returns 'ok' or 'unknown'.
-- A retry keeps every option: only the attempts begin anew, and what was written stays written, unless it isn't the
-- whole recording.
local action, cid = unpack(ARGV)
if redis.call('ZREM', k('dead'), cid) == 0 then return 'unknown' end
audit('dead letter ' .. action, 'comp', cid)
local comp = k('comp', cid)
redis.call('HDEL', comp, 'dead_until')
if action == 'drop' then
  local ended = num(redis.call('HGET', comp, 'completed'))
  for _, id in ipairs(redis.call('SMEMBERS', k('comp', cid, 'jobs'))) do expire_after(id, ended) end
  release_audio(cid)
  return 'ok'
end
local incomplete = redis.call('HGET', comp, 'error_code') == 'result_incomplete'
redis.call('HDEL', comp, 'error_code', 'error', 'error_retryable', 'error_fault', 'completed', 'started', 'restarts')
redis.call('HSET', comp, 'attempts', 0, 'revived', 1)
redis.call('SET', k('dedup', redis.call('HGET', comp, 'fingerprint')), cid, 'NX')
move(cid, 'queued')
if incomplete then
  begin_anew(cid)
  return 'ok'
end
for i = 0, num(redis.call('HGET', comp, 'spans')) - 1 do
  if redis.call('HGET', k('span', cid, i), 'state') ~= 'done' then
    redis.call('HSET', k('span', cid, i), 'attempts', 0)
    redis.call('HDEL', k('span', cid, i), 'faults', 'faulting', 'avoid')
    enqueue(cid, i, redis.call('HGET', k('span', cid, i), 'place'))
  end
end
return 'ok'
