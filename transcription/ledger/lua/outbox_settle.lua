-- What a try came to. ARGV: message, attempt, outcome (delivered, failed, gone), ms to the next try (-1: none),
-- HTTP status or 0, error, ms that it took, tries that a job's log keeps, ms that «gone» is remembered, silences in a
-- row after which a host is left alone, and for how many ms at first and at most.
-- Returns 'ok', or 'lost' when another worker has the message by now.
local message, attempt, outcome, retry_ms, status, failure, took_ms, log_length, gone_ms = unpack(ARGV)
local max_silences, first_ms, longest_ms = num(ARGV[10]), num(ARGV[11]), num(ARGV[12])
local key = k('hook', message)
local hook = hash(key)
if not hook.job then return 'lost' end
local entry = { id = message, at = now(), attempt = num(attempt), outcome = outcome, took_ms = num(took_ms) }
if status ~= '0' then entry.status = num(status) end
if failure ~= '' then entry.error = failure end
log_delivery(hook.job, entry, num(log_length))
count('webhooks_' .. outcome)
if hook.attempts ~= attempt then return 'lost' end
local job = job_hash(hook.job)
local host = host_of(job.webhook or '')
redis.call('ZREM', k('sending', job.tenant), message)
redis.call('ZREM', k('sending', job.tenant, host), message)
-- A host that gives no answer costs a place for as long as one is waited for; one that answers, whatever it says, none.
local silent = k('silent', job.tenant, host)
if status ~= '0' then
  redis.call('DEL', silent)
elseif outcome == 'failed' and num(retry_ms) >= 0 then
  -- What was on its way already when the host was given up says nothing new: only a try after the pause lengthens it.
  local left_alone = num(redis.call('HGET', silent, 'until')) > now()
  local times = left_alone and 0 or redis.call('HINCRBY', silent, 'times', 1)
  if times >= max_silences then
    local pause = math.min(longest_ms, first_ms * 2 ^ math.min(times - max_silences, 20))
    redis.call('HSET', silent, 'until', now() + pause)
  end
  redis.call('PEXPIRE', silent, 86400000)
end
if outcome == 'failed' and num(retry_ms) >= 0 then
  redis.call('ZADD', k('outbox'), now() + num(retry_ms), message)
  return 'ok'
end
redis.call('ZREM', k('outbox'), message)
redis.call('HSET', key, 'state', outcome)
if outcome == 'failed' then count('webhooks_given_up') end
if outcome == 'gone' then redis.call('SET', gone_key(job), 1, 'PX', gone_ms) end
return 'ok'
