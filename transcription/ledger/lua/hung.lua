-- A worker says which of its spans stand still: it ends for them, and the others bear no blame.
-- ARGV: worker, max attempts, then computation, index and token of each. Returns how many spans came back.
local worker, max_attempts = ARGV[1], num(ARGV[2])
local names = {}
for a = 3, #ARGV, 3 do
  local cid, i, token = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  if lease_state(cid, i, token) == 'held' then names[#names + 1] = cid .. '/' .. i end
end
return lose_all(worker, names, max_attempts)
