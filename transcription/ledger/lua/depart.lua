-- A worker stops. ARGV: worker.
local worker = ARGV[1]
redis.call('ZREM', k('workers'), worker)
redis.call('DEL', k('worker', worker))
if redis.call('GET', k('drainer')) == worker then redis.call('DEL', k('drainer')) end
return 1
