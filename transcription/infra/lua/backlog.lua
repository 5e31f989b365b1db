-- Figures over the whole platform. ARGV: ms after which a silent worker counts as gone.
-- Returns {spans pending, audio ms pending, spans running, oldest age ms or '', counts, stats, workers' info, dead}.
local at, oldest = now(), ''
for _, class in ipairs(CLASSES) do
  local top = redis.call('ZRANGE', k('order', class), 0, 0, 'WITHSCORES')
  if top[2] and (oldest == '' or at - num(top[2]) > oldest) then oldest = at - num(top[2]) end
end
local workers = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', k('workers'), at - num(ARGV[1]), '+inf')) do
  workers[#workers + 1] = redis.call('HGET', k('worker', worker), 'info')
  workers[#workers + 1] = redis.call('SCARD', k('held', worker))
end
local waiting = hash(k('backlog'))
return { num(waiting.spans), num(waiting['ms:interactive']) + num(waiting['ms:batch']),
  redis.call('ZCARD', k('leases')), oldest, redis.call('HGETALL', k('counts')), redis.call('HGETALL', k('stats')),
  workers, redis.call('ZCARD', k('dead')) }
