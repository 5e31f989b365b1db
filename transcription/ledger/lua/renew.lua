-- Prolong leases. ARGV: lease ms, then computation, index, token of each. Returns a standing for each.
local out = {}
for a = 2, #ARGV, 3 do
  local cid, i, token = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  local found = standing(cid, i, token)
  if found == 'held' then redis.call('ZADD', k('leases'), now() + num(ARGV[1]), cid .. '/' .. i) end
  out[#out + 1] = found
end
return out
