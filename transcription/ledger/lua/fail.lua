-- A run ended in an error: try again after a while, or fail the computation.
-- ARGV: computation, index, token, code, message, retryable (0 or 1), delay ms (-1: give up),
-- whose fault (input, engine, platform). Returns the state of the lease.
local cid, i, token, code, message, retryable, _, fault = unpack(ARGV)
local delay_ms = num(ARGV[7])
local found = lease_state(cid, i, token)
if found ~= 'held' then return found end
local key = k('span', cid, i)
local worker = redis.call('HGET', key, 'worker')
audit('erred', 'comp', cid, 'span', i, 'token', token, 'worker', worker, 'code', code)
if fault == 'platform' then
  -- No attempt: it says nothing of the recording. Another worker may not have that fault.
  redis.call('HINCRBY', key, 'faults', 1)
  redis.call('HSETNX', key, 'faulting', now())
  local avoid = redis.call('HGET', key, 'avoid') or ''
  if not lines(avoid)[worker] then redis.call('HSET', key, 'avoid', avoid .. worker .. '\n') end
  count('faults')
else
  redis.call('HINCRBY', key, 'attempts', 1)
end
if delay_ms < 0 then
  fail_computation(cid, code, message, retryable, fault)
else
  count('retried')
  end_run(cid, i, 'delayed')
  redis.call('ZADD', k('delayed'), now() + delay_ms, cid .. '/' .. i)
  promote(cid)
end
return found
