-- Figures over the whole platform. ARGV: ms after which a silent worker counts as gone.
-- Returns {spans pending, audio ms pending, spans running, oldest age ms or '', counts, stats, workers' info, dead,
-- {class, recordings, audio ms, oldest age ms or ''...}, failures, latencies}.
local LOOKS = 50

local at, oldest = now(), ''
local backlog = hash(k('backlog'))

-- A recording that was begun and waits for its next span is no older than its neighbours: only those never begun count.
local function oldest_of(class)
  local names = redis.call('ZRANGE', k('order', class), 0, LOOKS - 1, 'WITHSCORES')
  for n = 1, #names, 2 do
    if redis.call('HGET', k('comp', (split_name(names[n]))), 'status') == 'queued' then return at - num(names[n + 1]) end
  end
  return ''
end

local waiting = {}
for _, class in ipairs(CLASSES) do
  local age = oldest_of(class)
  if age ~= '' and (oldest == '' or age > oldest) then oldest = age end
  for _, value in ipairs({ class, redis.call('ZCARD', k('order', class)), num(backlog['ms:' .. class]), age }) do
    waiting[#waiting + 1] = value
  end
end
local workers = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', k('workers'), at - num(ARGV[1]), '+inf')) do
  workers[#workers + 1] = redis.call('HGET', k('worker', worker), 'info')
  workers[#workers + 1] = redis.call('SCARD', k('held', worker))
end
return { num(backlog.spans), num(backlog['ms:interactive']) + num(backlog['ms:batch']),
  redis.call('ZCARD', k('leases')), oldest, redis.call('HGETALL', k('counts')), redis.call('HGETALL', k('stats')),
  workers, redis.call('ZCARD', k('dead')), waiting, redis.call('HGETALL', k('failures')),
  redis.call('HGETALL', k('latencies')) }
