-- Take the next span under a lease: by class, and in each a suspect if this worker runs none, then what some workers
-- must leave to others, then by the tenant with the least audio running and by age. Of ten claims of a base one is
-- for the batch class, if any waits. Further spans of computations in work come only when nothing else waits.
-- ARGV: worker, lease ms, extras (0 or 1), traits (a line each), ms after which a silent worker is gone, the request's
-- id, models...; the same request gets the same claim, whatever became of the first answer.
-- Returns the claim's fields, each after its name, or nil.
local BATCH_TURN = 10
local CHUNK = 100
local worker, lease_ms, extras = ARGV[1], num(ARGV[2]), ARGV[3] == '1'
local has, gone_ms, models = lines(ARGV[4]), num(ARGV[5]), {}
local request = ARGV[6]
for i = 7, #ARGV do models[ARGV[i]] = true end

-- The bases that this worker can work for, with the lanes of each: true where it is any of them.
local served = {}
for _, base in ipairs(bases()) do
  local model, needs = string.match(base, '^([^\n]*)(.*)$')
  if suits(base, models, has) then
    served[base] = true
  else
    local lanes = {}
    for trait in pairs(has) do
      local lane = string.sub(trait, 1, 9) == 'language=' and model .. '\n' .. trait .. needs
      if lane and suits(lane, models, has) then lanes[#lanes + 1] = lane end
    end
    if #lanes > 0 then served[base] = lanes end
  end
end

-- Lanes of this worker that have something in one of the rare queues, for each of these.
local aside = { suspects = {}, solitary = {}, avoided = {} }
for _, field in ipairs(redis.call('HKEYS', k('aside'))) do
  local queue, lane = string.match(field, '^(%l+):(.*)$')
  if suits(lane, models, has) then aside[queue][lane] = true end
end

-- The lane whose first span has the lowest score, and this.
local function first_lane(key, lanes)
  if lanes == true then return unpack(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')) end
  local best, least
  for _, lane in ipairs(lanes) do
    local score = redis.call('ZSCORE', key, lane)
    if score and (not least or num(score) < least) then best, least = lane, num(score) end
  end
  return best, least
end

-- Of the tenants with the least audio running, the one whose last claim is the longest ago; a worker for some languages
-- passes over those that have none of these. Returns the tenant, its lane, its running audio and its last token.
local function next_tenant(class, base, lanes)
  local at = 0
  repeat
    local turns = redis.call('ZRANGE', k('tenants', class, base), at, at + (lanes == true and 1 or CHUNK) - 1,
      'WITHSCORES')
    for n = 1, #turns, 2 do
      local tenant, token = tenant_of(turns[n])
      local lane = first_lane(k('lanes', class, base, tenant), lanes)
      if lane then return tenant, lane, num(turns[n + 1]), token end
    end
    at = at + CHUNK
  until #turns < 2 * CHUNK
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

local function within(base, among) return not among or among[base] end

local function next_of(queue, class, among)
  local from, to = bounds(class)
  local best, score
  for lane in pairs(aside[queue]) do
    local top = within(base_of(lane), among)
      and redis.call('ZRANGEBYSCORE', k(queue, lane), from, to, 'WITHSCORES', 'LIMIT', 0, 1) or {}
    if top[1] and (not score or num(top[2]) < score) then best, score = top[1], num(top[2]) end
  end
  return best
end

-- The next suspect, and whether it runs with nothing beside it; 'wait' where this worker has to run empty for that.
-- One worker at a time does so.
local function next_suspect(class, among)
  local solitary = next_of('solitary', class, among)
  if solitary then
    if redis.call('SCARD', k('held', worker)) == 0 then return solitary, true end
    local drainer = redis.call('GET', k('drainer'))
    if not drainer or drainer == worker then
      redis.call('SET', k('drainer'), worker, 'PX', 60000)
      return 'wait'
    end
  end
  if not next(aside.suspects) then return nil end
  if redis.call('EXISTS', k('suspect', worker)) == 0 then return next_of('suspects', class, among) end
end

-- A worker takes what it has failed at before only when there is nobody else.
local function next_avoided(class, among)
  local from, to = bounds(class)
  for lane in pairs(aside.avoided) do
    local at = 0
    repeat
      local names = within(base_of(lane), among)
        and redis.call('ZRANGEBYSCORE', k('avoided', lane), from, to, 'LIMIT', at, CHUNK) or {}
      for _, name in ipairs(names) do
        local cid, i = split_name(name)
        local avoid = lines(redis.call('HGET', k('span', cid, i), 'avoid') or '')
        if not avoid[worker] or not another(lane, avoid) then return name end
      end
      at = at + CHUNK
    until #names < CHUNK
  end
end

local function next_first(class, among)
  local best, score, before
  for base, lanes in pairs(served) do
    local tenant, lane, running, last
    if within(base, among) then tenant, lane, running, last = next_tenant(class, base, lanes) end
    if tenant and (not score or running < score or (running == score and last < before)) then
      best, score, before = k('first', class, lane, tenant), running, last
    end
  end
  return best and redis.call('ZRANGE', best, 0, 0)[1]
end

-- The next span of a class; *among* names the only bases that it may be of.
local function next_in(class, among)
  local name, alone = next_suspect(class, among)
  return name or next_avoided(class, among) or next_first(class, among), alone
end

local function next_extra()
  local best, score
  for base, lanes in pairs(served) do
    local lane, least = first_lane(k('extras', base), lanes)
    if lane and (not score or num(least) < score) then best, score = k('extra', lane), num(least) end
  end
  return best and redis.call('ZRANGE', best, 0, 0)[1]
end

local function batch_waits(base)
  if redis.call('EXISTS', k('tenants', 'batch', base)) == 1 then return true end
  for queue, lanes in pairs(aside) do
    for lane in pairs(lanes) do
      if base_of(lane) == base and redis.call('ZCOUNT', k(queue, lane), LATER, '+inf') > 0 then return true end
    end
  end
  return false
end

local function fields(name)
  local cid, i = split_name(name)
  local span, c = hash(k('span', cid, i)), hash(k('comp', cid))
  local jobs = redis.call('SMEMBERS', k('comp', cid, 'jobs'))
  table.sort(jobs)
  local out = {
    'computation', cid, 'index', i, 'token', span.token, 'start', span.start, 'end', span['end'],
    'attempt', num(span.attempts) + 1, 'windows', span.windows, 'sha', c.sha, 'filename', c.filename,
    'model', c.model, 'kind', c.kind or '', 'decoding', c.decoding,
    'language', span.language or c.language or '', 'speech', span.speech or '',
    'suspect', redis.call('GET', k('suspect', worker)) == name and 1 or 0,
    'alone', redis.call('GET', k('alone', worker)) == name and 1 or 0, 'spans', c.spans,
    'request', c.request or '', 'trace', c.trace or '', 'faults', num(span.faults),
    'faulting', span.faulting and now() - num(span.faulting) or 0, 'class', c.class,
    'waited', span.waited or '', 'age', c.revived and '' or now() - num(c.created), 'job', jobs[1] or '',
    'jobs', #jobs }
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

-- Bases in which the batch class has been passed over so often that it is its turn.
local due
local passed = hash(k('passed'))
for base in pairs(served) do
  if num(passed[base]) >= BATCH_TURN - 1 then
    due = due or {}
    due[base] = true
  end
end
local name, alone
if due then name, alone = next_in('batch', due) end
for _, class in ipairs(CLASSES) do
  if not name then name, alone = next_in(class) end
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
-- How long it waited is the first claim's to say; a dead letter that is retried doesn't say it a second time.
local first = c.status == 'queued' and not c.started and not c.revived
redis.call('HSET', key, 'state', 'running', 'token', token, 'worker', worker, 'claimed', now(), 'weight', weight,
  'request', request, 'waited', first and now() - num(c.created) or '')
note_left(key, true)
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
local base = base_of(c.lane)
if c.class == 'interactive' and queue ~= 'extra' and batch_waits(base) then
  redis.call('HINCRBY', k('passed'), base, 1)
else
  redis.call('HDEL', k('passed'), base)
end
move_tenant(c.tenant, redis.call('HGET', k('served'), c.tenant), token, add_running(c.tenant, weight))
redis.call('HSET', k('served'), c.tenant, token)
local attempt = num(span.attempts) + 1
if attempt > num(c.attempts) then redis.call('HSET', k('comp', cid), 'attempts', attempt) end
count('claimed')
audit('claimed', 'comp', cid, 'span', i, 'token', token, 'worker', worker, 'place', queue)
if c.status == 'queued' then move(cid, 'processing') end
return fields(name)
