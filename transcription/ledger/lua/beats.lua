-- A heartbeat of many workers that the ledger knows. ARGV: for each its name, incarnation, info (JSON), kind, rate and
-- revisions, as `register` has them. Returns the names of those that must register themselves.
local at, out = now(), {}
for a = 1, #ARGV, 6 do
  local worker, incarnation, info, kind, rate, revisions = unpack(ARGV, a, a + 5)
  local key = k('worker', worker)
  local before = redis.call('HMGET', key, 'incarnation', 'info', 'revisions')
  if before[1] ~= incarnation or before[3] ~= revisions then
    out[#out + 1] = worker
  else
    if before[2] ~= info then redis.call('HSET', key, 'info', info, 'kind', kind, 'rate', rate) end
    redis.call('ZADD', k('workers'), at, worker)
  end
end
return out
