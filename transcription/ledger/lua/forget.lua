-- Delete a job, and what nobody else holds. ARGV: job, tenant.
-- Returns 'unknown', or {'ok', SHA-256 that no computation needs any more or ''}. Who is told a SHA-256 deletes its
-- bytes and then the key `deleting:S`; until then no new job may count on them.
local id, tenant = unpack(ARGV)
local at = now()
local job = hash(k('job', id))
if job.tenant ~= tenant then return 'unknown' end
audit('forgotten', 'job', id, 'comp', job.comp)
leave_computations(id, job)
local left = job.expired and 'expired' or job.canceled and 'canceled' or job.failed and 'failed'
if left then redis.call('HINCRBY', k('counts'), left, -1) end
forget_job(id, job.tenant)
redis.call('ZREM', k('expiry'), id)
redis.call('ZREM', k('tombs'), id)
redis.call('HSETNX', k('config'), 'deleted', at)
redis.call('ZREMRANGEBYSCORE', k('coming', job.sha), '-inf', at)
if redis.call('EXISTS', k('blob', job.sha), k('coming', job.sha)) > 0 then return { 'ok', '' } end
redis.call('SET', k('deleting', job.sha), 1, 'PX', 60000)
return { 'ok', job.sha }
