-- Delete a ticket, and what nobody else holds. ARGV: ticket, tenant.
-- Returns 'unknown', or {'ok', SHA-256 that no computation needs any more or ''}.
local job = hash(k('job', ARGV[1]))
if job.tenant ~= ARGV[2] then return 'unknown' end
audit('forgotten', 'job', ARGV[1], 'comp', job.comp)
leave(ARGV[1], job.comp)
local left = job.expired and 'expired' or job.canceled and 'canceled'
if left then redis.call('HINCRBY', k('counts'), left, -1) end
forget_messages(ARGV[1])
redis.call('DEL', k('job', ARGV[1]))
redis.call('ZREM', k('jobs', job.tenant), ARGV[1])
redis.call('ZREM', k('expiry'), ARGV[1])
redis.call('ZREM', k('tombs'), ARGV[1])
return { 'ok', redis.call('EXISTS', k('blob', job.sha)) == 0 and job.sha or '' }
