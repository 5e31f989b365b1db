-- What is written of a computation. ARGV: computation. Returns {computation hash, {windows of span 0}, ...}.
local out = { redis.call('HGETALL', k('comp', ARGV[1])) }
for i = 0, num(redis.call('HGET', k('comp', ARGV[1]), 'spans')) - 1 do
  out[#out + 1] = redis.call('LRANGE', k('segs', ARGV[1], i), 0, -1)
end
return out
