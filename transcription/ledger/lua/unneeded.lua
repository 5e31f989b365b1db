-- Take names of audio that no computation has needed for a while; the caller deletes the bytes.
-- ARGV: ms that it must have been so, names at most. Returns names: when none, nothing is due.
local settle_ms, most = num(ARGV[1]), num(ARGV[2])
local due, out = redis.call('ZRANGEBYSCORE', k('unneeded'), '-inf', now() - settle_ms, 'LIMIT', 0, most), {}
for _, sha in ipairs(due) do
  redis.call('ZREM', k('unneeded'), sha)
  redis.call('ZREMRANGEBYSCORE', k('coming', sha), '-inf', now())
  if redis.call('EXISTS', k('coming', sha)) == 1 then
    redis.call('ZADD', k('unneeded'), now(), sha)
  elseif redis.call('EXISTS', k('blob', sha)) == 0 then
    out[#out + 1] = sha
  end
end
return out
