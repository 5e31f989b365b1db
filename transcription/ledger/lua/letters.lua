-- Dead letters, the latest first. ARGV: how many at most, and the one that is asked for ('' for all).
-- Returns for each {ms of death, computation hash, {jobs}}.
local most, wanted = num(ARGV[1]), ARGV[2]
local out = {}
local names = wanted ~= '' and { wanted } or redis.call('ZREVRANGE', k('dead'), 0, most - 1)
for _, cid in ipairs(names) do
  local died_at = redis.call('ZSCORE', k('dead'), cid)
  if died_at then
    out[#out + 1] = { died_at, redis.call('HGETALL', k('comp', cid)), redis.call('SMEMBERS', k('comp', cid, 'jobs')) }
  end
end
return out
