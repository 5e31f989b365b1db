-- Give up a ticket. ARGV: ticket, tenant. Returns 'ok', 'unknown' or 'finished'.
local job = hash(k('job', ARGV[1]))
if job.tenant ~= ARGV[2] then return 'unknown' end
local status = redis.call('HGET', k('comp', job.comp), 'status')
if job.canceled or job.expired or terminal(status) then return 'finished' end
redis.call('HSET', k('job', ARGV[1]), 'canceled', now())
count('canceled')
audit('ticket canceled', 'job', ARGV[1], 'comp', job.comp)
retain(ARGV[1], now(), job.ttl)
enqueue_webhook(ARGV[1], 'canceled')
leave(ARGV[1], job.comp, 'canceled')
return 'ok'
