-- The form of the keys above, as a number: a string under `schema`, none in an empty ledger and in one of form 1.
-- Every script looks at it first. Whoever comes first to an older ledger brings it up to date, in one step with its own
-- work; a newer ledger is refused, for its keys may mean something else. A change of form needs a step here.
local FORM = 2

-- Form 1 knew no lanes: spans waited by model. A lane that asks for nothing has its model's name, so they stay in place.
local function lanes_for_models()
  local places = { 'order:interactive', 'order:batch', 'suspects', 'delayed', 'leases', 'dead' }
  for _, model in ipairs(redis.call('SMEMBERS', k('models'))) do
    redis.call('SADD', k('lanes'), model)
    places[#places + 1] = 'extra:' .. model
  end
  for _, place in ipairs(places) do
    for _, name in ipairs(redis.call('ZRANGE', k(place), 0, -1)) do
      local comp = k('comp', (string.match(name, '^[^/]+')))
      local model = redis.call('HGET', comp, 'model')
      if model then redis.call('HSETNX', comp, 'lane', model) end
    end
  end
  redis.call('DEL', k('models'))
end

local STEPS = { lanes_for_models }

local form = num(redis.call('GET', k('schema')) or 1)
if form > FORM then return redis.error_reply('LEDGERTOONEW ' .. form .. ' ' .. FORM) end
if form < FORM then
  for step = form, FORM - 1 do STEPS[step]() end
  redis.call('SET', k('schema'), FORM)
end
