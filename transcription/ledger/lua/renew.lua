-- Prolong leases. ARGV: lease ms, then computation, index, token of each. Returns the state of a lease for each.
local lease_ms, out = num(ARGV[1]), {}
for a = 2, #ARGV, 3 do
  local cid, i, token = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  local found = lease_state(cid, i, token)
  if found == 'held' then redis.call('ZADD', k('leases'), now() + lease_ms, cid .. '/' .. i) end
  out[#out + 1] = found
end
return out
