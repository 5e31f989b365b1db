-- Take the message that has been due the longest of those whose tenant and host have a place free, under a lease.
-- ARGV: lease ms, tries that a job's log keeps, messages of a tenant that are sent at once, those of it to one host, ms
-- for which a message waits that has no place, silences in a row after which a host gets one message at a time.
-- Returns {message hash, URL, now, tenant}, 'again' when many had to be put off, the ms until the next is due, or nil.
-- Where more are due, the next sender is woken.
local lease_ms, log_length, of_tenant, of_host = num(ARGV[1]), num(ARGV[2]), num(ARGV[3]), num(ARGV[4])
local wait_ms, max_silences = num(ARGV[5]), num(ARGV[6])

local function in_flight(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now())
  return redis.call('ZCARD', key)
end

-- When to look at a message again that can't be sent now; nil: it can.
local function put_off(tenant, host)
  local silent = redis.call('HMGET', k('silent', tenant, host), 'times', 'until')
  if num(silent[2]) > now() then return num(silent[2]) end
  local at_once = num(silent[1]) >= max_silences and 1 or of_host
  if in_flight(k('sending', tenant, host)) >= at_once or in_flight(k('sending', tenant)) >= of_tenant then
    return now() + wait_ms
  end
  return nil
end

for n = 1, 200 do
  local message = redis.call('ZRANGEBYSCORE', k('outbox'), '-inf', now(), 'LIMIT', 0, 1)[1]
  if not message then
    local first = redis.call('ZRANGE', k('outbox'), 0, 0, 'WITHSCORES')[2]
    return first and math.max(0, num(first) - now())
  end
  local key = k('hook', message)
  local job = job_hash(redis.call('HGET', key, 'job') or '')
  if not job.webhook then
    redis.call('ZREM', k('outbox'), message)
  elseif redis.call('EXISTS', gone_key(job)) == 1 then
    redis.call('ZREM', k('outbox'), message)
    redis.call('HSET', key, 'state', 'gone')
    local entry = { id = message, at = now(), outcome = 'gone', error = 'the receiver answered 410 before' }
    log_delivery(job.id, entry, log_length)
  else
    local host = host_of(job.webhook)
    local later = put_off(job.tenant, host)
    if later then
      -- In their order, but not all at the same moment.
      redis.call('ZADD', k('outbox'), later + n, message)
    else
      redis.call('HINCRBY', key, 'attempts', 1)
      redis.call('HINCRBY', key, 'tries', 1)
      for _, place in ipairs({ k('outbox'), k('sending', job.tenant), k('sending', job.tenant, host) }) do
        redis.call('ZADD', place, now() + lease_ms, message)
      end
      redis.call('PEXPIRE', k('sending', job.tenant), 2 * lease_ms)
      redis.call('PEXPIRE', k('sending', job.tenant, host), 2 * lease_ms)
      if redis.call('ZCOUNT', k('outbox'), '-inf', now()) > 0 then wake_sender() end
      return { redis.call('HGETALL', key), job.webhook, now(), job.tenant }
    end
  end
end
return 'again'
