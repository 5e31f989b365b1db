-- Take the next span under a lease: by class, and in each a suspect if this worker runs none, then what some workers
-- must leave to others, then by the tenant with the least audio running and by age. Of ten claims of a lane one is
-- for the batch class, if any waits. Further spans of computations in work come only when nothing else waits.
-- ARGV: worker, lease ms, extras (0 or 1), traits (a line each), ms after which a silent worker is gone, the request's
-- id, models...; the same request gets the same claim, whatever became of the first answer.
-- Returns the claim's fields, each after its name, or nil.
local BATCH_TURN = 10
local CHUNK = 100
local worker, lease_ms, extras = ARGV[1], num(ARGV[2]), ARGV[3] == '1'
local has, gone_ms, models, served = lines(ARGV[4]), num(ARGV[5]), {}, {}
local request = ARGV[6]
for i = 7, #ARGV do models[ARGV[i]] = true end

for _, lane in ipairs(redis.call('SMEMBERS', k('lanes'))) do
  if suits(lane, models, has) then served[lane] = true end
end

-- Of the tenants with the least audio running, the one whose last claim is the longest ago. Without that, two who
-- have nothing running would be told apart by their names, and one might wait for ever.
local function next_tenant(tenants)
  local least = redis.call('ZRANGE', tenants, 0, 0, 'WITHSCORES')[2]
  if not least then return nil end
  local best, last, at = nil, nil, 0
  repeat
    local tied = redis.call('ZRANGEBYSCORE', tenants, least, least, 'LIMIT', at, 1000)
    local tokens = #tied > 0 and redis.call('HMGET', k('served'), unpack(tied)) or {}
    for i, tenant in ipairs(tied) do
      if not best or num(tokens[i]) < last then best, last = tenant, num(tokens[i]) end
    end
    at = at + #tied
  until #tied < 1000
  return best, num(least), last
end

-- Whether a live worker that isn't in a set could take what waits in a lane.
local others
local function another(lane, besides)
  others = others or redis.call('ZRANGEBYSCORE', k('workers'), now() - gone_ms, '+inf')
  for _, name in ipairs(others) do
    if name ~= worker and not besides[name] then
      local kind = redis.call('HGET', k('worker', name), 'kind')
      local theirs, traits = string.match(kind or '', '^(.*)\n\n(.*)$')
      if theirs and suits(lane, lines(theirs), lines(traits)) then return true end
    end
  end
  return false
end

local function bounds(class)
  if class == 'batch' then return LATER, '+inf' end
  return '-inf', '(' .. LATER
end

local function next_of(queue, class, lanes)
  local from, to = bounds(class)
  local best, score
  for lane in pairs(lanes) do
    local top = redis.call('ZRANGEBYSCORE', k(queue, lane), from, to, 'WITHSCORES', 'LIMIT', 0, 1)
    if top[1] and (not score or num(top[2]) < score) then best, score = top[1], num(top[2]) end
  end
  return best
end

-- The next suspect, and whether it runs with nothing beside it; 'wait' where this worker has to run empty for that.
-- One worker at a time does so.
local function next_suspect(class, lanes)
  local solitary = next_of('solitary', class, lanes)
  if solitary then
    if redis.call('SCARD', k('held', worker)) == 0 then return solitary, true end
    local drainer = redis.call('GET', k('drainer'))
    if not drainer or drainer == worker then
      redis.call('SET', k('drainer'), worker, 'PX', 60000)
      return 'wait'
    end
  end
  if redis.call('EXISTS', k('suspect', worker)) == 0 then return next_of('suspects', class, lanes) end
end

-- A worker takes what it has failed at before only when there is nobody else.
local function next_avoided(class, lanes)
  local from, to = bounds(class)
  for lane in pairs(lanes) do
    local at = 0
    repeat
      local names = redis.call('ZRANGEBYSCORE', k('avoided', lane), from, to, 'LIMIT', at, CHUNK)
      for _, name in ipairs(names) do
        local cid, i = split_name(name)
        local avoid = lines(redis.call('HGET', k('span', cid, i), 'avoid') or '')
        if not avoid[worker] or not another(lane, avoid) then return name end
      end
      at = at + CHUNK
    until #names < CHUNK
  end
end

local function next_first(class, lanes)
  local best, score, before
  for lane in pairs(lanes) do
    local tenant, running, last = next_tenant(k('tenants', class, lane))
    if tenant and (not score or running < score or (running == score and last < before)) then
      best, score, before = k('first', class, lane, tenant), running, last
    end
  end
  return best and redis.call('ZRANGE', best, 0, 0)[1]
end

local function next_in(class, lanes)
  local name, alone = next_suspect(class, lanes)
  return name or next_avoided(class, lanes) or next_first(class, lanes), alone
end

local function next_extra()
  local best, score
  for lane in pairs(served) do
    local top = redis.call('ZRANGE', k('extra', lane), 0, 0, 'WITHSCORES')
    if top[1] and (not score or num(top[2]) < score) then best, score = top[1], num(top[2]) end
  end
  return best
end

local function batch_waits(lane)
  if redis.call('EXISTS', k('tenants', 'batch', lane)) == 1 then return true end
  for _, waiting in ipairs({ 'suspects', 'solitary', 'avoided' }) do
    if redis.call('ZCOUNT', k(waiting, lane), LATER, '+inf') > 0 then return true end
  end
  return false
end

local function fields(name)
  local cid, i = split_name(name)
  local span, c = hash(k('span', cid, i)), hash(k('comp', cid))
  local out = {
    'computation', cid, 'index', i, 'token', span.token, 'start', span.start, 'end', span['end'],
    'attempt', num(span.attempts) + 1, 'windows', span.windows, 'sha', c.sha, 'filename', c.filename,
    'model', c.model, 'kind', c.kind or '', 'decoding', c.decoding,
    'language', c.language or '', 'speech', span.speech or '',
    'suspect', redis.call('GET', k('suspect', worker)) == name and 1 or 0,
    'alone', redis.call('GET', k('alone', worker)) == name and 1 or 0, 'spans', c.spans,
    'request', c.request or '', 'trace', c.trace or '', 'faults', num(span.faults),
    'faulting', span.faulting and now() - num(span.faulting) or 0 }
  if c.revision then
    out[#out + 1] = 'revision'
    out[#out + 1] = c.revision
  end
  return out
end

for _, name in ipairs(redis.call('SMEMBERS', k('held', worker))) do
  local cid, i = split_name(name)
  if redis.call('HGET', k('span', cid, i), 'request') == request then return fields(name) end
end

if redis.call('EXISTS', k('alone', worker)) == 1 then return nil end

-- Lanes in which the batch class has been passed over so often that it is its turn.
local due
for lane in pairs(served) do
  if num(redis.call('HGET', k('passed'), lane)) >= BATCH_TURN - 1 then
    due = due or {}
    due[lane] = true
  end
end
local name, alone
if due then name, alone = next_in('batch', due) end
for _, class in ipairs(CLASSES) do
  if not name then name, alone = next_in(class, served) end
end
name = name or (extras and next_extra())
if not name or name == 'wait' then return nil end

local cid, i = split_name(name)
local key = k('span', cid, i)
local queue = redis.call('HGET', key, 'place')
dequeue(cid, i)
redis.call('HINCRBY', k('comp', cid), 'lead', 1)
local token = next_token()
local span, c = hash(key), hash(k('comp', cid))
local weight = math.max(1000, length_of(span) - num(span.done))
redis.call('HSET', key, 'state', 'running', 'token', token, 'worker', worker, 'claimed', now(), 'weight', weight,
  'request', request)
redis.call('ZADD', k('leases'), now() + lease_ms, name)
redis.call('SADD', k('held', worker), name)
local suspect = queue == 'suspect' or queue == 'solitary'
if suspect then
  redis.call('SET', k('suspect', worker), name)
  redis.call('HSET', key, 'acquitted_at', num(span.windows) + 4 ^ math.max(0, num(span.crashes) - 1))
end
if alone then
  redis.call('SET', k('alone', worker), name)
  redis.call('DEL', k('drainer'))
end
local passed = c.class == 'interactive' and queue ~= 'extra' and batch_waits(c.lane)
if passed then redis.call('HINCRBY', k('passed'), c.lane, 1) else redis.call('HDEL', k('passed'), c.lane) end
add_running(c.tenant, weight)
redis.call('HSET', k('served'), c.tenant, token)
local attempt = num(span.attempts) + 1
if attempt > num(c.attempts) then redis.call('HSET', k('comp', cid), 'attempts', attempt) end
count('claimed')
audit('claimed', 'comp', cid, 'span', i, 'token', token, 'worker', worker, 'place', queue)
if c.status == 'queued' then move(cid, 'processing') end
return fields(name)
