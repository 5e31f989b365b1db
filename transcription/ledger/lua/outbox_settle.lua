-- What a try came to. ARGV: message, attempt, outcome (delivered, failed, gone), ms to the next try (-1: none),
-- HTTP status or 0, error, ms that it took, tries that a job's log keeps, ms that «gone» is remembered.
-- Returns 'ok', or 'lost' when another worker has the message by now.
local message, attempt, outcome, retry_ms, status, failure, took_ms, log_length, gone_ms = unpack(ARGV)
local key = k('hook', message)
local hook = hash(key)
if not hook.job then return 'lost' end
local entry = { id = message, at = now(), attempt = num(attempt), outcome = outcome, took_ms = num(took_ms) }
if status ~= '0' then entry.status = num(status) end
if failure ~= '' then entry.error = failure end
log_delivery(hook.job, entry, num(log_length))
count('webhooks_' .. outcome)
if hook.attempts ~= attempt then return 'lost' end
if outcome == 'failed' and num(retry_ms) >= 0 then
  redis.call('ZADD', k('outbox'), now() + num(retry_ms), message)
  return 'ok'
end
redis.call('ZREM', k('outbox'), message)
redis.call('HSET', key, 'state', outcome)
if outcome == 'gone' then redis.call('SET', gone_key(hash(k('job', hook.job))), 1, 'PX', gone_ms) end
return 'ok'
