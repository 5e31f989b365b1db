-- Return spans whose lease has expired, and those whose delay is over.
-- After a pause in which nobody reaped (the server was down, or every worker was), leases get time to be renewed.
-- ARGV: max attempts, pause ms that counts as an outage, grace ms. Returns how many spans came back.
local at, max_attempts = now(), num(ARGV[1])
local last = num(redis.call('HGET', k('config'), 'reaped'))
redis.call('HSET', k('config'), 'reaped', at)
local back = 0
for _, name in ipairs(redis.call('ZRANGEBYSCORE', k('delayed'), '-inf', at, 'LIMIT', 0, 1000)) do
  local cid, i = split_name(name)
  redis.call('ZREM', k('delayed'), name)
  enqueue(cid, i)
  back = back + 1
end
if at - last > num(ARGV[2]) then redis.call('HSET', k('config'), 'grace', at + num(ARGV[3])) end
if at < num(redis.call('HGET', k('config'), 'grace')) then return back end

local expired = redis.call('ZRANGEBYSCORE', k('leases'), '-inf', at, 'LIMIT', 0, 1000)
local crowd = {}
for _, name in ipairs(expired) do
  local cid, i = split_name(name)
  local worker = redis.call('HGET', k('span', cid, i), 'worker')
  crowd[name] = redis.call('SCARD', k('held', worker))
end
for _, name in ipairs(expired) do
  local cid, i = split_name(name)
  -- An earlier one of these may have failed the whole computation.
  if redis.call('HGET', k('span', cid, i), 'state') == 'running' then
    died(cid, i, crowd[name], max_attempts)
    back = back + 1
  end
end
return back
