-- Spans that run: their tokens and leases, and how a run ends.

-- ---------------------------------------------------------------- runs

local function add_running(tenant, by)
  local sum = redis.call('HINCRBY', k('running'), tenant, math.floor(by))
  if sum <= 0 then redis.call('HDEL', k('running'), tenant) end
  return sum
end

-- What is left of a span, as long as it runs, is in the backlog's total.
local function note_left(key, runs)
  local span = redis.call('HMGET', key, 'start', 'end', 'done', 'left')
  local start, length, before = num(span[1]), num(span[2]) - num(span[1]), span[4]
  local left = length > 0 and math.max(0, math.floor(length - num(span[3]))) or start > 0 and 0 or -1
  if before then
    redis.call('HINCRBY', k('backlog'), before == '-1' and 'unknown' or 'running', before == '-1' and -1 or 0 - before)
  end
  if not runs then
    redis.call('HDEL', key, 'left')
    return
  end
  redis.call('HINCRBY', k('backlog'), left == -1 and 'unknown' or 'running', left == -1 and 1 or left)
  redis.call('HSET', key, 'left', left)
end

-- A fencing token that no earlier claim had, not even one that a server forgot which lost its last writes: it is the
-- time, in microseconds, or one more than the last token.
local function next_token()
  local t = redis.call('TIME')
  local token = string.format('%.0f', math.max(num(redis.call('GET', k('fence'))) + 1, t[1] * 1000000 + t[2]))
  redis.call('SET', k('fence'), token)
  return token
end

-- Ends a run, whatever comes next. The token in the span's hash is void from here on, because the state has changed.
local function end_run(cid, i, state)
  local name, key = cid .. '/' .. i, k('span', cid, i)
  local span = hash(key)
  redis.call('ZREM', k('leases'), name)
  redis.call('SREM', k('held', span.worker), name)
  if redis.call('GET', k('alone', span.worker)) == name then redis.call('DEL', k('alone', span.worker)) end
  if redis.call('GET', k('suspect', span.worker)) == name then redis.call('DEL', k('suspect', span.worker)) end
  redis.call('HSET', key, 'state', state)
  redis.call('HDEL', key, 'token')
  note_left(key, false)
  local tenant = redis.call('HGET', k('comp', cid), 'tenant')
  local token = redis.call('HGET', k('served'), tenant)
  move_tenant(tenant, token, token, add_running(tenant, 0 - num(span.weight)))
  redis.call('HINCRBY', k('comp', cid), 'lead', -1)
end

-- A suspect that has come past the windows that it may have died at is an ordinary span again, and leaves room for the
-- next suspect. After each crash it has to come further; one that was charged stays a suspect to its end.
local function acquit(cid, i, windows)
  local key = k('span', cid, i)
  local span = redis.call('HMGET', key, 'worker', 'place', 'acquitted_at', 'attempts')
  if span[2] ~= 'suspect' or num(span[4]) > 0 or windows < num(span[3]) then return end
  redis.call('HSET', key, 'place', 'first')
  if redis.call('GET', k('suspect', span[1])) == cid .. '/' .. i then redis.call('DEL', k('suspect', span[1])) end
end

-- 'held', 'lost' (the token is old) or 'unwanted' (nobody waits for the computation any more).
local function lease_state(cid, i, token)
  local status = redis.call('HGET', k('comp', cid), 'status')
  if not status or status == 'canceled' or status == 'failed' then return 'unwanted' end
  local span = redis.call('HMGET', k('span', cid, i), 'state', 'token')
  if span[1] == 'running' and span[2] == token then return 'held' end
  return 'lost'
end
