-- Take the message that has been due the longest, under a lease. ARGV: lease ms, tries that a job's log keeps.
-- Returns {message hash, URL, now}, or nil.
local lease_ms, log_length = num(ARGV[1]), num(ARGV[2])
for _ = 1, 100 do
  local message = redis.call('ZRANGEBYSCORE', k('outbox'), '-inf', now(), 'LIMIT', 0, 1)[1]
  if not message then return nil end
  local key = k('hook', message)
  local job = hash(k('job', redis.call('HGET', key, 'job') or ''))
  if not job.webhook then
    redis.call('ZREM', k('outbox'), message)
  elseif redis.call('EXISTS', gone_key(job)) == 1 then
    redis.call('ZREM', k('outbox'), message)
    redis.call('HSET', key, 'state', 'gone')
    local entry = { id = message, at = now(), outcome = 'gone', error = 'the receiver answered 410 before' }
    log_delivery(job.id, entry, log_length)
  else
    redis.call('HINCRBY', key, 'attempts', 1)
    redis.call('HINCRBY', key, 'tries', 1)
    redis.call('ZADD', k('outbox'), now() + lease_ms, message)
    return { redis.call('HGETALL', key), job.webhook, now() }
  end
end
return nil
