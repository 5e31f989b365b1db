-- A heartbeat. The first one of a new process brings back what an earlier process of the same name held.
-- ARGV: worker, incarnation, info (JSON), max attempts, kind (models and traits), audio-seconds per second.
-- Returns how many spans came back.
local worker, incarnation, info, max_attempts, kind, rate = unpack(ARGV)
local key = k('worker', worker)
local back = 0
local before = redis.call('HGET', key, 'incarnation')
if before ~= incarnation then back = process_died(worker, num(max_attempts)) end
redis.call('HSET', key, 'incarnation', incarnation, 'info', info, 'kind', kind, 'rate', rate)
redis.call('ZADD', k('workers'), now(), worker)
return back
