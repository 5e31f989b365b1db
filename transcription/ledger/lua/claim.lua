-- Take the next span under a lease: a suspect if this worker is idle, else by class, by the tenant with the least
-- audio running, by age; further spans of computations in work only when nothing else waits.
-- ARGV: worker, lease ms, extras (0 or 1), traits (a line each), ms after which a silent worker is gone, models...
-- Returns the claim's fields, each after its name, or nil.
local PATIENCE_MS = 3000
local CHUNK = 100
local worker, lease_ms, extras = ARGV[1], num(ARGV[2]), ARGV[3] == '1'
local has, gone_ms, models, served = lines(ARGV[4]), num(ARGV[5]), {}, {}
for i = 6, #ARGV do models[ARGV[i]] = true end

for _, lane in ipairs(redis.call('SMEMBERS', k('lanes'))) do
  if suits(lane, models, has) then served[lane] = true end
end

local function next_suspect()
  for _, name in ipairs(redis.call('ZRANGE', k('suspects'), 0, 50)) do
    if served[redis.call('HGET', k('comp', (split_name(name))), 'lane')] then return name end
  end
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

-- A worker takes what it has failed at before only when there is nobody else.
local function next_avoided(class)
  local from, to = '-inf', '(' .. LATER
  if class == 'batch' then from, to = LATER, '+inf' end
  for lane in pairs(served) do
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

local function next_first()
  for _, class in ipairs(CLASSES) do
    local avoided = next_avoided(class)
    if avoided then return avoided end
    local best, score, before
    for lane in pairs(served) do
      local tenant, running, last = next_tenant(k('tenants', class, lane))
      if tenant and (not score or running < score or (running == score and last < before)) then
        best, score, before = k('first', class, lane, tenant), running, last
      end
    end
    if best then return redis.call('ZRANGE', best, 0, 0)[1] end
  end
end

local function next_extra()
  local best, score
  for lane in pairs(served) do
    local top = redis.call('ZRANGE', k('extra', lane), 0, 0, 'WITHSCORES')
    if top[1] and (not score or num(top[2]) < score) then best, score = top[1], num(top[2]) end
  end
  return best
end

if redis.call('EXISTS', k('alone', worker)) == 1 then return nil end
local name, alone = next_suspect(), 0
if name then
  if redis.call('SCARD', k('held', worker)) == 0 then
    alone = 1
  else
    -- One busy worker at a time runs empty to make room for the suspects, every one when they have waited long.
    local drainer = redis.call('GET', k('drainer'))
    local waited = now() - num(redis.call('ZSCORE', k('suspects'), name))
    if not drainer or drainer == worker or waited > PATIENCE_MS then
      redis.call('SET', k('drainer'), worker, 'PX', 60000)
      return nil
    end
    name = nil
  end
end
name = name or next_first() or (extras and next_extra())
if not name then return nil end

local cid, i = split_name(name)
local key = k('span', cid, i)
local queue = redis.call('HGET', key, 'place')
dequeue(cid, i)
redis.call('HINCRBY', k('comp', cid), 'lead', 1)
local token = redis.call('INCR', k('fence'))
local span, c = hash(key), hash(k('comp', cid))
local weight = math.max(1000, length_of(span) - num(span.done))
redis.call('HSET', key, 'state', 'running', 'token', token, 'worker', worker, 'claimed', now(), 'weight', weight)
redis.call('ZADD', k('leases'), now() + lease_ms, name)
redis.call('SADD', k('held', worker), name)
if alone == 1 then
  redis.call('SET', k('alone', worker), name)
  if redis.call('ZCARD', k('suspects')) == 0 then redis.call('DEL', k('drainer')) end
end
add_running(c.tenant, weight)
redis.call('HSET', k('served'), c.tenant, token)
local attempt = num(span.attempts) + 1
if attempt > num(c.attempts) then redis.call('HSET', k('comp', cid), 'attempts', attempt) end
count('claimed')
audit('claimed', 'comp', cid, 'span', i, 'token', token, 'worker', worker, 'place', queue)
if c.status == 'queued' then move(cid, 'processing') end
return { 'computation', cid, 'index', i, 'token', token, 'start', span.start, 'end', span['end'], 'attempt', attempt,
  'windows', span.windows, 'sha', c.sha, 'filename', c.filename, 'model', c.model, 'decoding', c.decoding,
  'language', c.language or '', 'speech', span.speech or '', 'alone', alone, 'spans', c.spans,
  'request', c.request or '', 'trace', c.trace or '', 'faults', num(span.faults),
  'faulting', span.faulting and now() - num(span.faulting) or 0 }
