-- Return all spans of processes with an expired lease, and spans whose delay is over.
-- After a pause in which nobody reaped (the server was down, or every worker was), leases get time to be renewed.
-- What is due in the outbox and wasn't taken wakes somebody.
-- ARGV: max attempts, pause ms that counts as an outage, grace ms. Returns how many spans came back.
local at, max_attempts, pause_ms, grace_ms = now(), num(ARGV[1]), num(ARGV[2]), num(ARGV[3])
local last = num(redis.call('HGET', k('config'), 'reaped'))
redis.call('HSET', k('config'), 'reaped', at)
if redis.call('ZCOUNT', k('outbox'), '-inf', at) > 0 then wake_sender() end
local back = 0
for _, name in ipairs(redis.call('ZRANGEBYSCORE', k('delayed'), '-inf', at, 'LIMIT', 0, 1000)) do
  local cid, i = split_name(name)
  redis.call('ZREM', k('delayed'), name)
  enqueue(cid, i)
  back = back + 1
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', k('deadlines'), '-inf', at, 'LIMIT', 0, 200)) do miss_deadline(id) end
if at - last > pause_ms then redis.call('HSET', k('config'), 'grace', at + grace_ms) end
if at < num(redis.call('HGET', k('config'), 'grace')) then return back end

-- One lease of a process is over, so all are.
for _, name in ipairs(redis.call('ZRANGEBYSCORE', k('leases'), '-inf', at, 'LIMIT', 0, 1000)) do
  local cid, i = split_name(name)
  local span = redis.call('HMGET', k('span', cid, i), 'state', 'worker')
  if span[1] == 'running' then back = back + process_died(span[2], max_attempts) end
end
return back
