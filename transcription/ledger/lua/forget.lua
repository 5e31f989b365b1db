-- Delete a job, and what nobody else holds. ARGV: job, tenant.
-- Returns 'unknown', or {'ok', SHA-256 that no computation needs any more or ''}.
local id, tenant = unpack(ARGV)
local job = hash(k('job', id))
if job.tenant ~= tenant then return 'unknown' end
audit('forgotten', 'job', id, 'comp', job.comp)
leave_computation(id, job.comp)
local left = job.expired and 'expired' or job.canceled and 'canceled'
if left then redis.call('HINCRBY', k('counts'), left, -1) end
forget_job(id, job.tenant)
redis.call('ZREM', k('expiry'), id)
redis.call('ZREM', k('tombs'), id)
return { 'ok', redis.call('EXISTS', k('blob', job.sha)) == 0 and job.sha or '' }
