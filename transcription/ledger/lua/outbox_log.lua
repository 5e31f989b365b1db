-- A job's messages and the tries at them. ARGV: job, tenant.
-- Returns 'unknown', or {URL or '', {message hash and time of the next try or '', ...}, {tries (JSON)}}.
local id, tenant = unpack(ARGV)
local job = job_hash(id)
if not job.id and tomb(id, tenant) then return { '', {}, {} } end
if not job.id or job.tenant ~= tenant then return 'unknown' end
local messages = {}
for n = 1, num(job.messages) do
  local message = 'msg_' .. job.id .. '_' .. n
  messages[#messages + 1] = redis.call('HGETALL', k('hook', message))
  messages[#messages + 1] = redis.call('ZSCORE', k('outbox'), message) or ''
end
return { job.webhook or '', messages, redis.call('LRANGE', k('hooklog', job.id), 0, -1) }
