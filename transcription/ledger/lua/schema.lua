-- The version of the key layout above: the key `schema`, missing in an empty ledger and in version 1.
-- Every script checks it first. The first script that meets an older ledger migrates it, in one step with its own work;
-- a newer ledger is refused, because its keys may mean something else. A new version needs a migration here.
local VERSION = 4

-- Version 1 had no lanes: spans waited by model. A lane that asks for nothing has its model's name, so they stay put.
local function lanes_from_models()
  local queues = { 'order:interactive', 'order:batch', 'suspects', 'delayed', 'leases', 'dead' }
  for _, model in ipairs(redis.call('SMEMBERS', k('models'))) do
    redis.call('SADD', k('lanes'), model)
    queues[#queues + 1] = 'extra:' .. model
  end
  for _, queue in ipairs(queues) do
    for _, name in ipairs(redis.call('ZRANGE', k(queue), 0, -1)) do
      local comp = k('comp', (string.match(name, '^[^/]+')))
      local model = redis.call('HGET', comp, 'model')
      if model then redis.call('HSETNX', comp, 'lane', model) end
    end
  end
  redis.call('DEL', k('models'))
end

-- Version 2 had one queue of suspects for all lanes.
local function suspects_by_lane()
  for _, name in ipairs(redis.call('ZRANGE', k('suspects'), 0, -1)) do
    local c = redis.call('HMGET', k('comp', (split_name(name))), 'lane', 'class')
    local since = num(redis.call('ZSCORE', k('suspects'), name))
    if c[1] then redis.call('ZADD', k('suspects', c[1]), (c[2] == 'batch' and LATER or 0) + since, name) end
  end
  redis.call('DEL', k('suspects'), k('drainer'))
end

-- Version 3 had its tenants by lane, the lanes as a set, and lists of lengths and of a computation's extras; it kept
-- all results to their end.
local function lane_by_bases(lane)
  local base, waits = base_of(lane), 0
  for _, class in ipairs(CLASSES) do
    -- Where a lane has no language the key's name stays the same.
    local tenants = redis.call('ZRANGE', k('tenants', class, lane), 0, -1)
    if base ~= lane then redis.call('DEL', k('tenants', class, lane)) end
    for _, tenant in ipairs(tenants) do
      local queue = k('first', class, lane, tenant)
      local turn = turn_of(tenant, redis.call('HGET', k('served'), tenant))
      redis.call('ZREM', k('tenants', class, base), tenant)
      redis.call('ZADD', k('tenants', class, base), num(redis.call('HGET', k('running'), tenant)), turn)
      note_head(k('lanes', class, base, tenant), lane, queue)
      waits = waits + redis.call('ZCARD', queue)
    end
  end
  for _, name in ipairs(redis.call('ZRANGE', k('extra', lane), 0, -1)) do
    redis.call('DEL', k('comp', (split_name(name)), 'extra'))
  end
  note_head(k('extras', base), lane, k('extra', lane))
  for _, queue in pairs(ASIDE) do
    local spans = redis.call('ZCARD', k(queue, lane))
    if spans > 0 then redis.call('HSET', k('aside'), queue .. ':' .. lane, spans) end
    waits = waits + spans
  end
  waits = waits + redis.call('ZCARD', k('extra', lane))
  if waits > 0 then
    redis.call('HSET', k('pending'), lane, waits)
    redis.call('HINCRBY', k('bases'), base, waits)
  end
end

local function tenants_by_base()
  redis.call('DEL', k('pending'), k('lengths'), k('passed'))
  local lanes = redis.call('SMEMBERS', k('lanes'))
  -- Those without a language first: another lane's tenants come into their key.
  table.sort(lanes, function(one, other) return #one < #other end)
  for _, lane in ipairs(lanes) do lane_by_bases(lane) end
  redis.call('DEL', k('lanes'))
  for _, class in ipairs(CLASSES) do
    for _, name in ipairs(redis.call('ZRANGE', k('order', class), 0, -1)) do
      local length = length_of(hash(k('span', split_name(name))))
      redis.call('HINCRBY', k('backlog'), 'first:' .. class, math.floor(length))
      if length <= 0 then redis.call('HINCRBY', k('backlog'), 'unknown:' .. class, 1) end
    end
  end
  for _, name in ipairs(redis.call('ZRANGE', k('leases'), 0, -1)) do note_left(k('span', split_name(name)), true) end
  for _, id in ipairs(redis.call('ZRANGE', k('expiry'), 0, -1)) do
    for _, cid in ipairs(parts_of_id(id)) do
      local c = redis.call('HMGET', k('comp', cid), 'status', 'completed')
      if c[1] == 'completed' then redis.call('ZADD', k('finished'), num(c[2]), cid) end
    end
  end
end

local MIGRATIONS = { lanes_from_models, suspects_by_lane, tenants_by_base }

local version = num(redis.call('GET', k('schema')) or 1)
if version > VERSION then return redis.error_reply('LEDGERTOONEW ' .. version .. ' ' .. VERSION) end
if version < VERSION then
  for from = version, VERSION - 1 do MIGRATIONS[from]() end
  redis.call('SET', k('schema'), VERSION)
end
