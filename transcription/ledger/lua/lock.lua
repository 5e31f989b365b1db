-- True for one worker at a time, for a while. ARGV: name, ms. Returns 1 or 0.
local name, length_ms = unpack(ARGV)
return redis.call('SET', k('lock', name), 1, 'PX', length_ms, 'NX') and 1 or 0
