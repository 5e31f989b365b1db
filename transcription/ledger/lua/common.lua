-- The ledger: every state move is one of the scripts beside this file, each run after these lines.
-- KEYS[1] is the prefix of all keys, AUDIT the audit stream's length. Times are milliseconds of the server's clock, lengths milliseconds of audio.
--
--   job:ID            hash    a ticket: tenant, computation, options, audio; canceled or expired when it left early
--   jobs:TENANT       zset    a tenant's tickets by time
--   comp:C            hash    a computation: status, audio, model, lane, decoding, spans, progress, error
--   comp:C:jobs       set     tickets that wait on it or hold its result; empty: nobody wants it
--   comp:C:extra      zset    its pending spans that only idle workers take, by index
--   span:C:I          hash    state (pending running delayed done stopped), start, end, speech, place, token, worker, attempts, windows
--   segs:C:I          list    a span's segments, one JSON array for each window
--   events:C          stream  what watchers are told: status moves, and which window was written
--   dedup:F           string  fingerprint -> the computation that new tickets join
--   blob:S            set     computations that need the audio with this SHA-256
--   idem:T:K          hash    idempotency key -> ticket and payload
--   first:CLASS:L:T   zset    pending spans of computations that no worker is on, by age
--   tenants:CLASS:L   zset    tenants with such spans, by the audio they have running
--   served            hash    tenant -> token of its last claim
--   order:CLASS       zset    the same spans over all tenants, by age
--   extra:L           zset    further spans of computations in work, by class and age
--   suspects          zset    spans that were in flight when a process died, since then: each is run again alone
--   delayed           zset    spans that wait before their next attempt, by due time
--   leases            zset    running spans by the lease's end
--   held:W            set     spans that a worker's process holds
--   alone:W           string  the suspect that a worker runs with no neighbour
--   worker:W          hash    what a worker says of itself; its kind: models and traits;  workers: zset of their last sign of life
--   outbox            zset    webhook messages that are owed, by the time of their next try or by the end of its lease
--   hook:M            hash    a message: job, status, at, error, attempts, tries, since, state (pending delivered failed gone)
--   hooklog:ID        list    a ticket's tries at deliveries, JSON;  gone:T:U: a receiver that wants no more, by its URL's digest
--   expiry, tombs     zset    tickets by the end of their retention, and by the end of the word «expired»
--   dead              zset    computations that an operator may retry
--   counts, backlog, running, stats, config  hashes of totals and marks;  fence: the last token
--   failures          hash    failed computations by error code;  latencies: histograms, NAME:CLASS:BOUND and NAME:CLASS:ms
--   audit             stream  all moves;  drainer: the worker that runs empty for a suspect;  lanes: set of names;  schema: see schema.lua
local P = KEYS[1]
local CLASSES = { 'interactive', 'batch' }
local BOUNDS_S = { 1, 5, 15, 30, 60, 120, 300, 900, 3600, 14400 }

local function k(...) return P .. table.concat({ ... }, ':') end

local clock
local function now()
  if not clock then
    local t = redis.call('TIME')
    clock = t[1] * 1000 + math.floor(t[2] / 1000)
  end
  return clock
end

local function split_name(name)
  local at = string.find(name, '/', 1, true)
  return string.sub(name, 1, at - 1), string.sub(name, at + 1)
end

local function num(value) return tonumber(value or 0) or 0 end

-- A number is negated as `0 - n`: `-0` is written «-0», which servers before Redis 7.2 don't take for an integer.

local function hash(key)
  local flat, out = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do out[flat[i]] = flat[i + 1] end
  return out
end

local function audit(what, ...)
  if AUDIT > 0 then redis.call('XADD', k('audit'), 'MAXLEN', '~', AUDIT, '*', 'what', what, ...) end
end

local function count(name, by) redis.call('HINCRBY', k('stats'), name, by or 1) end

-- Adds a length of time to a histogram. A revived dead letter counts no second time.
local function observe(name, cid, length)
  local c = redis.call('HMGET', k('comp', cid), 'class', 'revived')
  if c[2] then return end
  local within = '+Inf'
  for _, bound in ipairs(BOUNDS_S) do
    if length <= bound * 1000 then
      within = bound
      break
    end
  end
  redis.call('HINCRBY', k('latencies'), table.concat({ name, c[1], within }, ':'), 1)
  redis.call('HINCRBY', k('latencies'), table.concat({ name, c[1], 'ms' }, ':'), math.floor(length))
end

-- Tell watchers. Every change of a computation ends here.
local function tell(cid, kind, ...)
  redis.call('XADD', k('events', cid), '*', 'kind', kind, ...)
  redis.call('PUBLISH', k('changed'), cid)
end

local function tell_progress(cid, kind, ...)
  local c = redis.call('HMGET', k('comp', cid), 'done', 'duration')
  tell(cid, kind, 'done', c[1], 'duration', c[2], ...)
end

local function terminal(status) return status == 'completed' or status == 'failed' or status == 'canceled' end

-- ---------------------------------------------------------------- places where spans wait

local function length_of(span) return num(span['end']) - num(span['start']) end

local function wait_more(class, length, spans)
  redis.call('HINCRBY', k('backlog'), 'ms:' .. class, math.floor(length))
  redis.call('HINCRBY', k('backlog'), 'spans', spans)
end

local function enqueue(cid, i, place)
  local c = redis.call('HMGET', k('comp', cid), 'class', 'lane', 'tenant', 'created', 'lead')
  local class, lane, tenant, created = c[1], c[2], c[3], num(c[4])
  local name, key = cid .. '/' .. i, k('span', cid, i)
  if place ~= 'suspect' then place = num(c[5]) == 0 and 'first' or 'extra' end
  redis.call('HSET', key, 'state', 'pending', 'place', place)
  if place == 'suspect' then
    redis.call('ZADD', k('suspects'), now(), name)
  elseif place == 'first' then
    redis.call('HINCRBY', k('comp', cid), 'lead', 1)
    redis.call('ZADD', k('first', class, lane, tenant), created, name)
    redis.call('ZADD', k('order', class), created, name)
    redis.call('ZADD', k('tenants', class, lane), num(redis.call('HGET', k('running'), tenant)), tenant)
  else
    redis.call('ZADD', k('extra', lane), (class == 'batch' and 1e14 or 0) + created, name)
    redis.call('ZADD', k('comp', cid, 'extra'), i, i)
  end
  redis.call('SADD', k('lanes'), lane)
  wait_more(class, length_of(hash(key)), 1)
end

local function dequeue(cid, i)
  local c = redis.call('HMGET', k('comp', cid), 'class', 'lane', 'tenant')
  local class, lane, tenant = c[1], c[2], c[3]
  local name, span = cid .. '/' .. i, hash(k('span', cid, i))
  if span.state == 'delayed' then
    redis.call('ZREM', k('delayed'), name)
    return
  end
  if span.place == 'suspect' then
    redis.call('ZREM', k('suspects'), name)
  elseif span.place == 'first' then
    redis.call('HINCRBY', k('comp', cid), 'lead', -1)
    redis.call('ZREM', k('first', class, lane, tenant), name)
    redis.call('ZREM', k('order', class), name)
    if redis.call('EXISTS', k('first', class, lane, tenant)) == 0 then
      redis.call('ZREM', k('tenants', class, lane), tenant)
    end
  else
    redis.call('ZREM', k('extra', lane), name)
    redis.call('ZREM', k('comp', cid, 'extra'), i)
  end
  wait_more(class, 0 - length_of(span), -1)
end

-- When no worker is on a computation, its next span waits among the first ones.
local function promote(cid)
  if num(redis.call('HGET', k('comp', cid), 'lead')) > 0 then return end
  local i = redis.call('ZRANGE', k('comp', cid, 'extra'), 0, 0)[1]
  if i then
    dequeue(cid, i)
    enqueue(cid, i)
  end
end

local function lines(text)
  local set = {}
  for line in string.gmatch(text, '[^\n]+') do set[line] = true end
  return set
end

-- Whether a worker of these models and traits has all that a lane asks for. No line about the language: any may come.
local function suits(lane, models, has)
  local model, needs = string.match(lane, '^([^\n]*)\n?(.*)$')
  if not models[model] then return false end
  local any = has['language=*']
  if not any and not string.find(needs, 'language=', 1, true) then return false end
  for need in string.gmatch(needs, '[^\n]+') do
    if not has[need] and not (any and string.sub(need, 1, 9) == 'language=') then return false end
  end
  return true
end

-- ---------------------------------------------------------------- runs

local function weigh(tenant, by)
  local sum = redis.call('HINCRBY', k('running'), tenant, math.floor(by))
  if sum <= 0 then redis.call('HDEL', k('running'), tenant) end
  for _, lane in ipairs(redis.call('SMEMBERS', k('lanes'))) do
    for _, class in ipairs(CLASSES) do redis.call('ZADD', k('tenants', class, lane), 'XX', sum, tenant) end
  end
end

-- Ends a run, whatever comes next. The token in the span's hash is void from here on, because the state has changed.
local function end_run(cid, i, state)
  local name, key = cid .. '/' .. i, k('span', cid, i)
  local span = hash(key)
  redis.call('ZREM', k('leases'), name)
  redis.call('SREM', k('held', span.worker), name)
  if redis.call('GET', k('alone', span.worker)) == name then redis.call('DEL', k('alone', span.worker)) end
  redis.call('HSET', key, 'state', state)
  redis.call('HDEL', key, 'token')
  weigh(redis.call('HGET', k('comp', cid), 'tenant'), 0 - num(span.weight))
  redis.call('HINCRBY', k('comp', cid), 'lead', -1)
end

-- 'held', 'lost' (the token is old) or 'unwanted' (nobody waits for the computation any more).
local function standing(cid, i, token)
  local status = redis.call('HGET', k('comp', cid), 'status')
  if not status or status == 'canceled' or status == 'failed' then return 'unwanted' end
  local span = redis.call('HMGET', k('span', cid, i), 'state', 'token')
  if span[1] == 'running' and span[2] == token then return 'held' end
  return 'lost'
end

-- ---------------------------------------------------------------- computations

local function forget_dedup(cid, fingerprint)
  if redis.call('GET', k('dedup', fingerprint)) == cid then redis.call('DEL', k('dedup', fingerprint)) end
end

local function retain(id, at, ttl_ms) redis.call('ZADD', k('expiry'), at + num(ttl_ms), id) end

-- Word of a ticket's end is owed to the webhook that it named.
local function enqueue_webhook(id, status, error_code)
  if redis.call('HEXISTS', k('job', id), 'webhook') == 0 then return end
  local message = 'msg_' .. id .. '_' .. redis.call('HINCRBY', k('job', id), 'messages', 1)
  redis.call('HSET', k('hook', message), 'id', message, 'job', id, 'status', status, 'error', error_code or '',
    'at', now(), 'since', now(), 'attempts', 0, 'tries', 0, 'state', 'pending')
  redis.call('ZADD', k('outbox'), now(), message)
end

local function forget_messages(id)
  for n = 1, num(redis.call('HGET', k('job', id), 'messages')) do
    local message = 'msg_' .. id .. '_' .. n
    redis.call('ZREM', k('outbox'), message)
    redis.call('DEL', k('hook', message))
  end
  redis.call('DEL', k('hooklog', id))
end

local function gone_key(job) return k('gone', job.tenant, redis.sha1hex(job.webhook)) end

local function note_try(id, entry, length)
  redis.call('RPUSH', k('hooklog', id), cjson.encode(entry))
  redis.call('LTRIM', k('hooklog', id), -length, -1)
end

local function move(cid, status)
  local key = k('comp', cid)
  local before = redis.call('HGET', key, 'status')
  local jobs = redis.call('SMEMBERS', k('comp', cid, 'jobs'))
  redis.call('HSET', key, 'status', status)
  redis.call('HINCRBY', k('counts'), before, 0 - #jobs)
  redis.call('HINCRBY', k('counts'), status, #jobs)
  if status == 'processing' and redis.call('HSETNX', key, 'started', now()) == 1 then
    local waited = now() - num(redis.call('HGET', key, 'created'))
    redis.call('HINCRBY', k('stats'), 'wait_ms', waited)
    observe('wait', cid, waited)
  end
  if terminal(status) then
    redis.call('HSET', key, 'completed', now())
    count('computations_' .. status)
    if status == 'completed' then observe('transcript', cid, now() - num(redis.call('HGET', key, 'created'))) end
    for _, id in ipairs(jobs) do
      retain(id, now(), redis.call('HGET', k('job', id), 'ttl'))
      enqueue_webhook(id, status, redis.call('HGET', key, 'error_code'))
    end
    if status ~= 'completed' then forget_dedup(cid, redis.call('HGET', key, 'fingerprint')) end
  end
  audit(status, 'comp', cid)
  tell(cid, 'status', 'status', status)
end

-- Takes every span of a computation out of the queue and out of the workers' hands.
local function stop_spans(cid)
  for i = 0, num(redis.call('HGET', k('comp', cid), 'spans')) - 1 do
    local state = redis.call('HGET', k('span', cid, i), 'state')
    if state == 'pending' or state == 'delayed' then
      dequeue(cid, i)
      redis.call('HSET', k('span', cid, i), 'state', 'stopped')
    elseif state == 'running' then
      end_run(cid, i, 'stopped')
    end
  end
end

local function fail_computation(cid, code, message, retryable, dead)
  stop_spans(cid)
  redis.call('HSET', k('comp', cid), 'error_code', code, 'error', message, 'error_retryable', retryable)
  redis.call('HINCRBY', k('failures'), code, 1)
  if dead then redis.call('ZADD', k('dead'), now(), cid) end
  move(cid, 'failed')
end

local function drop_computation(cid)
  local key = k('comp', cid)
  local c = redis.call('HMGET', key, 'sha', 'fingerprint', 'spans', 'status')
  if not c[4] then return end
  if not terminal(c[4]) then
    stop_spans(cid)
    move(cid, 'canceled')
  end
  for i = 0, num(c[3]) - 1 do redis.call('DEL', k('span', cid, i), k('segs', cid, i)) end
  redis.call('SREM', k('blob', c[1]), cid)
  forget_dedup(cid, c[2])
  redis.call('ZREM', k('dead'), cid)
  redis.call('DEL', key, k('comp', cid, 'jobs'), k('comp', cid, 'extra'), k('events', cid))
  audit('dropped', 'comp', cid)
end

-- A ticket leaves its computation early; the last one to go stops the computing.
local function leave(id, cid, to)
  local status = redis.call('HGET', k('comp', cid), 'status')
  if redis.call('SREM', k('comp', cid, 'jobs'), id) == 1 then
    redis.call('HINCRBY', k('counts'), status, -1)
    if to then redis.call('HINCRBY', k('counts'), to, 1) end
  end
  if status and redis.call('SCARD', k('comp', cid, 'jobs')) == 0 then drop_computation(cid) end
  redis.call('PUBLISH', k('changed'), cid)
end

-- The process that ran a span is gone. If the span was not alone in it, it is a suspect and no attempt is counted;
-- if it was, it is the culprit. Either way its next run is alone.
local function lost_with(cid, i, crowd, max_attempts)
  local key = k('span', cid, i)
  local span = hash(key)
  end_run(cid, i, 'stopped')
  count('reaped')
  audit('reaped', 'comp', cid, 'span', i, 'worker', span.worker, 'crowd', crowd, 'claimed', span.claimed)
  if crowd == 1 then
    local attempts = redis.call('HINCRBY', key, 'attempts', 1)
    if attempts >= max_attempts then
      return fail_computation(cid, 'worker_lost', 'every worker that tried this recording died or hung; attempts: '
        .. attempts .. ' (MURMUR_LEASE__MAX_ATTEMPTS)', 1, true)
    end
  end
  enqueue(cid, i, 'suspect')
  promote(cid)
end

-- A worker's process is gone: all that it held is lost in one step, whenever each lease would have ended. Deciding
-- span by span would blame the last one, which only seems to have been alone. Returns how many spans came back.
local function process_died(worker, max_attempts)
  local held = redis.call('SMEMBERS', k('held', worker))
  for _, name in ipairs(held) do
    local cid, i = split_name(name)
    lost_with(cid, i, #held, max_attempts)
  end
  redis.call('DEL', k('alone', worker))
  return #held
end
