-- A run ended in an error: try again after a while, or fail the computation.
-- ARGV: computation, index, token, code, message, retryable (0 or 1), delay ms (-1: give up).
-- Returns the state of the lease.
local cid, i, token, code, message, retryable = unpack(ARGV)
local delay_ms = num(ARGV[7])
local found = lease_state(cid, i, token)
if found ~= 'held' then return found end
local worker = redis.call('HGET', k('span', cid, i), 'worker')
audit('erred', 'comp', cid, 'span', i, 'token', token, 'worker', worker, 'code', code)
redis.call('HINCRBY', k('span', cid, i), 'attempts', 1)
if delay_ms < 0 then
  fail_computation(cid, code, message, retryable, retryable == '1')
else
  count('retried')
  end_run(cid, i, 'delayed')
  redis.call('ZADD', k('delayed'), now() + delay_ms, cid .. '/' .. i)
  promote(cid)
end
return found
