-- Retention: finished jobs expire, and the word «expired» goes in its turn. One call does a part of what is due.
-- ARGV: ms that the word is kept, ms that jobs are kept which ask for no time of their own.
-- Returns how many jobs moved: when none did, nothing is due.
local SLICE = 500
local at, tombstone_ms, result_ms, moved = now(), num(ARGV[1]), num(ARGV[2]), 0

-- A shorter retention holds for what is kept already: jobs are gone through once, those that end last first.
local before = num(redis.call('HGET', k('config'), 'result_ttl'))
if before ~= result_ms then
  redis.call('HSET', k('config'), 'result_ttl', result_ms)
  if before == 0 or result_ms < before then redis.call('HSET', k('config'), 'shorten_from', '+inf') end
end
local from = redis.call('HGET', k('config'), 'shorten_from')
if from then
  local kept = redis.call('ZREVRANGEBYSCORE', k('expiry'), from, '-inf', 'WITHSCORES', 'LIMIT', 0, SLICE)
  for n = 1, #kept, 2 do
    local id, ends = kept[n], num(kept[n + 1])
    local parts, dead = parts_of_id(id), false
    for _, cid in ipairs(parts) do dead = dead or redis.call('HGET', k('comp', cid), 'dead_until') end
    if parts[1] and not dead then
      expire_after(id, ends - num(redis.call('HGET', k('job', id), 'ttl')))
    end
  end
  local last = kept[#kept]
  if #kept < 2 * SLICE then
    redis.call('HDEL', k('config'), 'shorten_from')
  else
    redis.call('HSET', k('config'), 'shorten_from', (last == from and '(' or '') .. last)
    moved = moved + 1
  end
end

local function to_be_sent(job)
  for n = 1, num(job.messages) do
    if redis.call('ZSCORE', k('outbox'), 'msg_' .. job.id .. '_' .. n) then return true end
  end
  return false
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', k('expiry'), '-inf', at, 'LIMIT', 0, SLICE)) do
  local job = job_hash(id)
  redis.call('ZREM', k('expiry'), id)
  if job.id then
    redis.call('HSET', k('job', id), 'expired', at)
    local left = job.canceled and 'canceled' or job.failed and 'failed'
    if left then
      redis.call('HINCRBY', k('counts'), left, -1)
      redis.call('HINCRBY', k('counts'), 'expired', 1)
    end
    leave_computations(id, job, 'expired')
    if to_be_sent(job) then
      redis.call('ZADD', k('tombs'), at + tombstone_ms, id)
    else
      forget_job(id, job.tenant)
      bury(id, job.tenant, job.created, at)
    end
    audit('expired', 'job', id, 'comp', job.comp)
    redis.call('HSETNX', k('config'), 'deleted', at)
    moved = moved + 1
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', k('tombs'), '-inf', at, 'LIMIT', 0, SLICE)) do
  forget_job(id, redis.call('HGET', k('job', id), 'tenant'))
  redis.call('ZREM', k('tombs'), id)
  redis.call('HINCRBY', k('counts'), 'expired', -1)
  moved = moved + 1
end
local gone = string.format('(%.0f', (math.floor((at - tombstone_ms) / 60000) + 1) * LIFETIME)
for _, tenant in ipairs(redis.call('ZRANGEBYSCORE', k('expired'), '-inf', gone, 'LIMIT', 0, SLICE)) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', k('expired', tenant), '-inf', gone, 'LIMIT', 0, SLICE)) do
    if moved < 2 * SLICE and dig_out(id, tenant) then moved = moved + 1 end
  end
end
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', k('workers'), '-inf', at - 3600000)) do
  if redis.call('EXISTS', k('held', worker)) == 0 then
    redis.call('ZREM', k('workers'), worker)
    redis.call('DEL', k('worker', worker))
  end
end
return moved
