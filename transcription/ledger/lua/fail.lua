-- A run ended in an error: try again after a while, or fail the computation.
-- ARGV: computation, index, token, code, message, retryable (0 or 1), delay ms (-1: give up). Returns the standing.
local cid, i, token, delay = ARGV[1], ARGV[2], ARGV[3], num(ARGV[7])
local found = standing(cid, i, token)
if found ~= 'held' then return found end
local worker = redis.call('HGET', k('span', cid, i), 'worker')
audit('erred', 'comp', cid, 'span', i, 'token', token, 'worker', worker, 'code', ARGV[4])
redis.call('HINCRBY', k('span', cid, i), 'attempts', 1)
if delay < 0 then
  fail_computation(cid, ARGV[4], ARGV[5], ARGV[6], ARGV[6] == '1')
else
  count('retried')
  end_run(cid, i, 'delayed')
  redis.call('ZADD', k('delayed'), now() + delay, cid .. '/' .. i)
  promote(cid)
end
return found
