-- What is written of a computation. ARGV: computation. Returns {computation hash, {whether span 0 is done, its windows}, ...}.
local out = { redis.call('HGETALL', k('comp', ARGV[1])) }
for i = 0, num(redis.call('HGET', k('comp', ARGV[1]), 'spans')) - 1 do
  local done = redis.call('HGET', k('span', ARGV[1], i), 'state') == 'done' and 1 or 0
  out[#out + 1] = { done, redis.call('LRANGE', k('segs', ARGV[1], i), 0, -1) }
end
return out
