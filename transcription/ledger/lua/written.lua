-- What has been written of a computation in the order of time, from a mark on, as far as nothing can come before it.
-- ARGV: computation, span, window of it to begin with, windows at most.
-- Returns {'archived', 0} where that is in the result store; else
-- {next span, next window, windows...}, or {} for a computation that isn't there any more.
local cid, i, window, most = ARGV[1], num(ARGV[2]), num(ARGV[3]), num(ARGV[4])
local spans = redis.call('HGET', k('comp', cid), 'spans')
if redis.call('HEXISTS', k('comp', cid), 'archived') == 1 then return { 'archived', 0 } end
if not spans then return {} end
local out = { i, window }
while i < num(spans) and #out - 2 < most do
  local found = redis.call('LRANGE', k('segs', cid, i), window, window + most - (#out - 2) - 1)
  for _, segments in ipairs(found) do out[#out + 1] = segments end
  window = window + #found
  local whole = window >= redis.call('LLEN', k('segs', cid, i))
  if not whole or redis.call('HGET', k('span', cid, i), 'state') ~= 'done' then break end
  i, window = i + 1, 0
end
out[1], out[2] = i, window
return out
