-- Retention: finished jobs expire, and the word «expired» goes in its turn. ARGV: ms that the word is kept.
-- Returns how many jobs moved.
local at, tombstone_ms, moved = now(), num(ARGV[1]), 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', k('expiry'), '-inf', at, 'LIMIT', 0, 500)) do
  local job = hash(k('job', id))
  redis.call('ZREM', k('expiry'), id)
  if job.id then
    redis.call('HSET', k('job', id), 'expired', at)
    if job.canceled then
      redis.call('HINCRBY', k('counts'), 'canceled', -1)
      redis.call('HINCRBY', k('counts'), 'expired', 1)
    end
    leave_computation(id, job.comp, 'expired')
    redis.call('ZADD', k('tombs'), at + tombstone_ms, id)
    audit('expired', 'job', id, 'comp', job.comp)
    moved = moved + 1
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', k('tombs'), '-inf', at, 'LIMIT', 0, 500)) do
  redis.call('ZREM', k('jobs', redis.call('HGET', k('job', id), 'tenant')), id)
  forget_messages(id)
  redis.call('DEL', k('job', id))
  redis.call('ZREM', k('tombs'), id)
  redis.call('HINCRBY', k('counts'), 'expired', -1)
  moved = moved + 1
end
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', k('workers'), '-inf', at - 3600000)) do
  if redis.call('EXISTS', k('held', worker)) == 0 then
    redis.call('ZREM', k('workers'), worker)
    redis.call('DEL', k('worker', worker))
  end
end
return moved
