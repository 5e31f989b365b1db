-- A worker's process stops. ARGV: worker, incarnation. Another one that has the name stays. Returns whether it left.
local worker, incarnation = ARGV[1], ARGV[2]
if redis.call('HGET', k('worker', worker), 'incarnation') ~= incarnation then return 0 end
redis.call('ZREM', k('workers'), worker)
redis.call('DEL', k('worker', worker))
if redis.call('GET', k('drainer')) == worker then redis.call('DEL', k('drainer')) end
return 1
