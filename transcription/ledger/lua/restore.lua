-- Give back what `allow` took. ARGV: tenant, job or '' (it stays open), ms of audio.
local tenant, id, length = ARGV[1], ARGV[2], num(ARGV[3])
local used_key = k('used', tenant, math.floor(now() / 86400000))
if id ~= '' then redis.call('ZREM', k('open', tenant), id) end
if redis.call('EXISTS', used_key) == 1 then redis.call('DECRBY', used_key, length) end
return 1
