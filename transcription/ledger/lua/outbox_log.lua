-- A ticket's messages and the tries at them. ARGV: ticket, tenant.
-- Returns 'unknown', or {URL or '', {message hash and time of the next try or '', ...}, {tries (JSON)}}.
local job = hash(k('job', ARGV[1]))
if not job.id or job.tenant ~= ARGV[2] then return 'unknown' end
local messages = {}
for n = 1, num(job.messages) do
  local message = 'msg_' .. job.id .. '_' .. n
  messages[#messages + 1] = redis.call('HGETALL', k('hook', message))
  messages[#messages + 1] = redis.call('ZSCORE', k('outbox'), message) or ''
end
return { job.webhook or '', messages, redis.call('LRANGE', k('hooklog', job.id), 0, -1) }
