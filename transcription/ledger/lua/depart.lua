-- A worker says goodbye. ARGV: worker.
redis.call('ZREM', k('workers'), ARGV[1])
redis.call('DEL', k('worker', ARGV[1]))
if redis.call('GET', k('drainer')) == ARGV[1] then redis.call('DEL', k('drainer')) end
return 1
