-- What a try came to. ARGV: message, attempt, outcome (delivered, failed, gone), ms to the next try (-1: none),
-- HTTP status or 0, error, ms that it took, tries that a ticket's log keeps, ms that «gone» is remembered.
-- Returns 'ok', or 'lost' when another worker has the message by now.
local key = k('hook', ARGV[1])
local hook = hash(key)
if not hook.job then return 'lost' end
local entry = { id = ARGV[1], at = now(), attempt = num(ARGV[2]), outcome = ARGV[3], took_ms = num(ARGV[7]) }
if ARGV[5] ~= '0' then entry.status = num(ARGV[5]) end
if ARGV[6] ~= '' then entry.error = ARGV[6] end
note_try(hook.job, entry, num(ARGV[8]))
count('webhooks_' .. ARGV[3])
if hook.attempts ~= ARGV[2] then return 'lost' end
if ARGV[3] == 'failed' and num(ARGV[4]) >= 0 then
  redis.call('ZADD', k('outbox'), now() + num(ARGV[4]), ARGV[1])
  return 'ok'
end
redis.call('ZREM', k('outbox'), ARGV[1])
redis.call('HSET', key, 'state', ARGV[3])
if ARGV[3] == 'gone' then redis.call('SET', gone_key(hash(k('job', hook.job))), 1, 'PX', ARGV[9]) end
return 'ok'
