-- Send a job's last message again, now, even to a receiver that wanted no more. ARGV: job, tenant.
-- Returns 'unknown', 'none' or 'ok'.
local id, tenant = unpack(ARGV)
local job = job_hash(id)
if not job.id or job.tenant ~= tenant then return 'unknown' end
if num(job.messages) == 0 then return 'none' end
local message = 'msg_' .. job.id .. '_' .. job.messages
redis.call('DEL', gone_key(job))
redis.call('HSET', k('hook', message), 'state', 'pending', 'tries', 0, 'since', now())
redis.call('ZADD', k('outbox'), now(), message)
wake_sender()
audit('webhook replayed', 'job', job.id)
return 'ok'
