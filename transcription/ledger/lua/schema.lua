-- The version of the key layout above: the key `schema`, missing in an empty ledger and in version 1.
-- Every script checks it first. The first script that meets an older ledger migrates it, in one step with its own work;
-- a newer ledger is refused, because its keys may mean something else. A new version needs a migration here.
local VERSION = 3

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

local MIGRATIONS = { lanes_from_models, suspects_by_lane }

local version = num(redis.call('GET', k('schema')) or 1)
if version > VERSION then return redis.error_reply('LEDGERTOONEW ' .. version .. ' ' .. VERSION) end
if version < VERSION then
  for from = version, VERSION - 1 do MIGRATIONS[from]() end
  redis.call('SET', k('schema'), VERSION)
end
