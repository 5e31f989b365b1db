-- What is written of a computation. ARGV: computation.
-- Returns {computation hash, the windows of span 0, ...}.
local cid = ARGV[1]
local out = { redis.call('HGETALL', k('comp', cid)) }
for i = 0, num(redis.call('HGET', k('comp', cid), 'spans')) - 1 do
  out[#out + 1] = redis.call('LRANGE', k('segs', cid, i), 0, -1)
end
return out
