-- Spans that wait: the queues, the order of tenants, and what a lane asks of a worker.

-- ---------------------------------------------------------------- queues of spans

local function length_of(span) return num(span['end']) - num(span['start']) end

-- Languages are what most lanes differ in, and most workers know all of them: those look at one queue for all.
local function base_of(lane) return (string.gsub(lane, '\nlanguage=[^\n]*', '')) end

local function bases() return redis.call('HKEYS', k('bases')) end

-- Adds to a total, and leaves no total of nothing.
local function total(key, field, by)
  if redis.call('HINCRBY', key, field, by) == 0 then redis.call('HDEL', key, field) end
end

-- A tenant's member in `tenants:CLASS:B`.
local function turn_of(tenant, token) return string.format('%016.0f ', num(token)) .. tenant end

local function tenant_of(turn) return string.sub(turn, 18), num(string.sub(turn, 1, 16)) end

-- A tenant has other audio running, and another last claim.
local function move_tenant(tenant, before, token, running)
  local old, new = turn_of(tenant, before), turn_of(tenant, token)
  for _, base in ipairs(bases()) do
    for _, class in ipairs(CLASSES) do
      local tenants = k('tenants', class, base)
      if old == new then
        redis.call('ZADD', tenants, 'XX', running, new)
      elseif redis.call('ZREM', tenants, old) == 1 then
        redis.call('ZADD', tenants, running, new)
      end
    end
  end
end

-- Notes in a zset of lanes what score the first span of a lane has; a lane whose queue is empty is not in it.
local function note_head(lanes, lane, queue)
  local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  if head[1] then redis.call('ZADD', lanes, head[2], lane) else redis.call('ZREM', lanes, lane) end
end

-- Counts a span that comes into its lane's queue (`by` is 1) or leaves it (-1).
local function count_span(class, lane, queue, length, by)
  local backlog, ms = k('backlog'), by > 0 and math.floor(length) or 0 - math.floor(length)
  redis.call('HINCRBY', backlog, 'ms:' .. class, ms)
  redis.call('HINCRBY', backlog, 'spans', by)
  if queue == 'first' then
    redis.call('HINCRBY', backlog, 'first:' .. class, ms)
    if length <= 0 then redis.call('HINCRBY', backlog, 'unknown:' .. class, by) end
  end
  total(k('pending'), lane, by)
  total(k('bases'), base_of(lane), by)
end

local function enqueue_first(cid, name, class, lane, tenant, age)
  local base, queue = base_of(lane), k('first', class, lane, tenant)
  redis.call('HINCRBY', k('comp', cid), 'lead', 1)
  redis.call('ZADD', queue, age, name)
  redis.call('ZADD', k('order', class), age, name)
  note_head(k('lanes', class, base, tenant), lane, queue)
  local turn = turn_of(tenant, redis.call('HGET', k('served'), tenant))
  redis.call('ZADD', k('tenants', class, base), num(redis.call('HGET', k('running'), tenant)), turn)
end

local function dequeue_first(cid, name, class, lane, tenant)
  local base, queue = base_of(lane), k('first', class, lane, tenant)
  redis.call('HINCRBY', k('comp', cid), 'lead', -1)
  redis.call('ZREM', queue, name)
  redis.call('ZREM', k('order', class), name)
  note_head(k('lanes', class, base, tenant), lane, queue)
  if redis.call('EXISTS', k('lanes', class, base, tenant)) == 0 then
    redis.call('ZREM', k('tenants', class, base), turn_of(tenant, redis.call('HGET', k('served'), tenant)))
  end
end

local ASIDE = { suspect = 'suspects', solitary = 'solitary', avoided = 'avoided' }

local function enqueue(cid, i, queue)
  local c = redis.call('HMGET', k('comp', cid), 'class', 'lane', 'tenant', 'created', 'lead', 'since')
  local class, lane, tenant, age = c[1], c[2], c[3], num(c[6] or c[4])
  local name, key = cid .. '/' .. i, k('span', cid, i)
  local span = redis.call('HMGET', key, 'start', 'end', 'avoid')
  if queue ~= 'suspect' and queue ~= 'solitary' then
    queue = span[3] and 'avoided' or num(c[5]) == 0 and 'first' or 'extra'
  end
  redis.call('HSET', key, 'state', 'pending', 'place', queue)
  local behind = class == 'batch' and LATER or 0
  if queue == 'first' then
    enqueue_first(cid, name, class, lane, tenant, age)
  elseif queue == 'extra' then
    redis.call('ZADD', k('extra', lane), behind + age, name)
    note_head(k('extras', base_of(lane)), lane, k('extra', lane))
  else
    redis.call('ZADD', k(ASIDE[queue], lane), behind + (queue == 'avoided' and age or now()), name)
    total(k('aside'), ASIDE[queue] .. ':' .. lane, 1)
  end
  count_span(class, lane, queue, num(span[2]) - num(span[1]), 1)
end

local function dequeue(cid, i)
  local c = redis.call('HMGET', k('comp', cid), 'class', 'lane', 'tenant')
  local class, lane, tenant = c[1], c[2], c[3]
  local name = cid .. '/' .. i
  local span = redis.call('HMGET', k('span', cid, i), 'start', 'end', 'state', 'place')
  if span[3] == 'delayed' then
    redis.call('ZREM', k('delayed'), name)
    return
  end
  local queue = span[4]
  if queue == 'first' then
    dequeue_first(cid, name, class, lane, tenant)
  elseif queue == 'extra' then
    redis.call('ZREM', k('extra', lane), name)
    note_head(k('extras', base_of(lane)), lane, k('extra', lane))
  else
    redis.call('ZREM', k(ASIDE[queue], lane), name)
    total(k('aside'), ASIDE[queue] .. ':' .. lane, -1)
  end
  count_span(class, lane, queue, num(span[2]) - num(span[1]), -1)
end

-- When no worker is on a computation, its next span waits among the first ones.
local function promote(cid)
  local c = redis.call('HMGET', k('comp', cid), 'lead', 'spans')
  if num(c[1]) > 0 then return end
  for i = 0, num(c[2]) - 1 do
    local span = redis.call('HMGET', k('span', cid, i), 'state', 'place')
    if span[1] == 'pending' and span[2] == 'extra' then
      dequeue(cid, i)
      enqueue(cid, i)
      return
    end
  end
end

-- Give a computation the place of one of its jobs: its class, its age, and, while no worker has begun, its tenant.
local function take_place(cid, id, job)
  local comp, waiting = k('comp', cid), {}
  local c = redis.call('HMGET', comp, 'spans', 'status')
  for i = 0, num(c[1]) - 1 do
    local span = redis.call('HMGET', k('span', cid, i), 'state', 'place')
    if span[1] == 'pending' then
      waiting[#waiting + 1] = { i, span[2] }
      dequeue(cid, i)
    end
  end
  redis.call('HSET', comp, 'class', job.class, 'since', job.created, 'placed_by', id)
  if c[2] == 'queued' then redis.call('HSET', comp, 'tenant', job.tenant) end
  for _, span in ipairs(waiting) do enqueue(cid, span[1], span[2]) end
end

local function class_of(job)
  local batch = string.find(job.options or '', '"priority":"batch"', 1, true)
  return job.class or (batch and 'batch' or 'interactive')
end

-- A job joins a computation: where its own place would be a better one, both have that. Its class is better, or of its
-- tenant fewer recordings wait than before the computation among those of its own.
local function join_place(cid, id, job)
  local c = redis.call('HMGET', k('comp', cid), 'class', 'tenant', 'lane', 'status')
  if job.class ~= c[1] then
    if job.class == 'interactive' then take_place(cid, id, job) end
    return
  end
  if c[4] ~= 'queued' or c[2] == job.tenant then return end
  local rank = redis.call('ZRANK', k('first', c[1], c[3], c[2]), cid .. '/0')
  local own = redis.call('ZCARD', k('first', c[1], c[3], job.tenant))
  if rank and own < rank then take_place(cid, id, job) end
end

-- The job whose place a computation has leaves: it gets the best one of those that stay.
local function leave_place(cid, id)
  local comp = redis.call('HMGET', k('comp', cid), 'status', 'placed_by')
  if terminal(comp[1]) or (comp[2] or id) ~= id then return end
  local best, best_id
  for _, one in ipairs(redis.call('SMEMBERS', k('comp', cid, 'jobs'))) do
    local job = job_hash(one)
    job.class, job.created = class_of(job), num(job.created)
    local sooner = best and (job.class == best.class and job.created < best.created
      or job.class ~= best.class and job.class == 'interactive')
    if job.id and (not best or sooner) then best, best_id = job, one end
  end
  if best then take_place(cid, best_id, best) end
end

local function lines(text)
  local set = {}
  for line in string.gmatch(text, '[^\n]+') do set[line] = true end
  return set
end

-- Whether a worker of these models and traits has all that a lane asks for. No line about the language: any may come,
-- but where speakers are told apart: voices have none.
local function suits(lane, models, has)
  local model, needs = string.match(lane, '^([^\n]*)\n?(.*)$')
  if not models[model] then return false end
  local any = has['language=*']
  local voices = string.sub(model, 1, 9) == 'speakers:'
  if not any and not voices and not string.find(needs, 'language=', 1, true) then return false end
  for need in string.gmatch(needs, '[^\n]+') do
    if not has[need] and not (any and string.sub(need, 1, 9) == 'language=') then return false end
  end
  return true
end
