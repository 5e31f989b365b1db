-- Fail what waits for a model that was withdrawn: no worker has named it for too long, though others live.
-- ARGV: ms after which a silent worker is gone, ms of patience, ms between two calls that count as an outage.
-- Returns how many computations failed; at most SLICE in one call.
local SLICE = 200
local at, gone_ms, patience_ms, pause_ms = now(), num(ARGV[1]), num(ARGV[2]), num(ARGV[3])

local kinds = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', k('workers'), at - gone_ms, '+inf')) do
  -- What a worker in quarantine names it serves all the same: it returns.
  local info = cjson.decode(redis.call('HGET', k('worker', worker), 'info') or '{}')
  local models, traits = {}, {}
  for _, model in ipairs(info.models or {}) do models[model] = true end
  for _, trait in ipairs(info.traits or {}) do traits[trait] = true end
  kinds[#kinds + 1] = { models = models, traits = traits }
end

local last = num(redis.call('HGET', k('config'), 'lanes_looked'))
redis.call('HSET', k('config'), 'lanes_looked', at)
-- Nobody looked, or nobody lived: nothing is known of the time since.
if at - last > pause_ms or #kinds == 0 then
  redis.call('DEL', k('unserved'))
  return 0
end

local function served(lane)
  -- A diarizer in quarantine isn't named: nothing is known of those lanes.
  if string.sub(lane, 1, 9) == 'speakers:' then return true end
  for _, kind in ipairs(kinds) do
    if suits(lane, kind.models, kind.traits) then return true end
  end
  return false
end

local function waiting_in(lane)
  local found = {}
  local function add(key)
    for _, name in ipairs(redis.call('ZRANGE', key, 0, SLICE - 1)) do found[#found + 1] = split_name(name) end
  end
  for _, queue in ipairs({ 'extra', 'avoided', 'suspects', 'solitary' }) do add(k(queue, lane)) end
  for _, class in ipairs(CLASSES) do
    for _, turn in ipairs(redis.call('ZRANGE', k('tenants', class, base_of(lane)), 0, -1)) do
      if #found < SLICE then add(k('first', class, lane, (tenant_of(turn)))) end
    end
  end
  return found
end

local waits, failed = {}, 0
for _, lane in ipairs(redis.call('HKEYS', k('pending'))) do
  waits[lane] = true
  if served(lane) then
    redis.call('HDEL', k('unserved'), lane)
  elseif redis.call('HSETNX', k('unserved'), lane, at) == 0
    and at - num(redis.call('HGET', k('unserved'), lane)) >= patience_ms then
    local why = 'no worker has served what this job needs (' .. string.gsub(lane, '\n', ', ') .. ') for '
      .. math.floor(patience_ms / 1000) .. ' s, though others live (MURMUR_LEASE__PLATFORM_PATIENCE_S)'
    for _, cid in ipairs(waiting_in(lane)) do
      if failed < SLICE and not terminal(redis.call('HGET', k('comp', cid), 'status') or 'failed') then
        fail_computation(cid, 'model_unavailable', why, 1, 'platform')
        failed = failed + 1
      end
    end
  end
end
for _, lane in ipairs(redis.call('HKEYS', k('unserved'))) do
  if not waits[lane] then redis.call('HDEL', k('unserved'), lane) end
end
return failed
