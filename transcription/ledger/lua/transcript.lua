-- What is written of a computation. ARGV: computation.
-- Returns {computation hash, {whether span 0 is done, its windows}, ...}.
local cid = ARGV[1]
local out = { redis.call('HGETALL', k('comp', cid)) }
for i = 0, num(redis.call('HGET', k('comp', cid), 'spans')) - 1 do
  local done = redis.call('HGET', k('span', cid, i), 'state') == 'done' and 1 or 0
  out[#out + 1] = { done, redis.call('LRANGE', k('segs', cid, i), 0, -1) }
end
return out
