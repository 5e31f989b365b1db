-- All that is to leave the ledger of a finished computation. ARGV: computation.
-- Returns {} when there is nothing to move, or {computation hash, its events, the windows of span 0, ...}.
local cid = ARGV[1]
local c = redis.call('HMGET', k('comp', cid), 'status', 'archived', 'spans')
if c[1] ~= 'completed' or c[2] then
  redis.call('ZREM', k('finished'), cid)
  return {}
end
local out = { redis.call('HGETALL', k('comp', cid)), redis.call('XRANGE', k('events', cid), '-', '+') }
for i = 0, num(c[3]) - 1 do out[#out + 1] = redis.call('LRANGE', k('segs', cid, i), 0, -1) end
return out
