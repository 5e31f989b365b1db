-- Give back what `allow` took. ARGV: tenant, ticket or '' (it stays open), ms of audio.
local used_key = k('used', ARGV[1], math.floor(now() / 86400000))
if ARGV[2] ~= '' then redis.call('ZREM', k('open', ARGV[1]), ARGV[2]) end
if redis.call('EXISTS', used_key) == 1 then redis.call('DECRBY', used_key, num(ARGV[3])) end
return 1
