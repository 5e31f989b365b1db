-- The dead letters, the latest first. ARGV: how many at most. Returns for each {ms of death, computation hash, {tickets}}.
local out = {}
for _, cid in ipairs(redis.call('ZREVRANGE', k('dead'), 0, num(ARGV[1]) - 1)) do
  out[#out + 1] = { redis.call('ZSCORE', k('dead'), cid), redis.call('HGETALL', k('comp', cid)),
    redis.call('SMEMBERS', k('comp', cid, 'jobs')) }
end
return out
