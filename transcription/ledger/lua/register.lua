-- A sign of life. The first one of a new process brings back what an earlier process of the same name held.
-- ARGV: worker, incarnation, info (JSON), max attempts, kind (models and traits), audio-seconds per second. Returns how many spans came back.
local worker, key = ARGV[1], k('worker', ARGV[1])
local back = 0
local before = redis.call('HGET', key, 'incarnation')
if before ~= ARGV[2] then back = process_died(worker, num(ARGV[4])) end
redis.call('HSET', key, 'incarnation', ARGV[2], 'info', ARGV[3], 'kind', ARGV[5], 'rate', ARGV[6])
redis.call('ZADD', k('workers'), now(), worker)
return back
