-- What is kept of jobs, and how it ends.

-- ---------------------------------------------------------------- computations

local function forget_dedup(cid, fingerprint)
  if redis.call('GET', k('dedup', fingerprint)) == cid then redis.call('DEL', k('dedup', fingerprint)) end
end

-- Let a job expire when its retention after *at* is over, but not before *least*. A job that asked for no retention of
-- its own has the platform's: a shorter one that was set since holds for it too.
local function expire_after(id, at, least)
  local job = redis.call('HMGET', k('job', id), 'ttl', 'options')
  local ttl_ms, most = num(job[1]), num(redis.call('HGET', k('config'), 'result_ttl'))
  if most > 0 and most < ttl_ms and not string.find(job[2] or '', '"ttl_s":%d') then
    ttl_ms = most
    redis.call('HSET', k('job', id), 'ttl', ttl_ms)
  end
  redis.call('ZADD', k('expiry'), math.max(at + ttl_ms, num(least)), id)
end

-- Deletes a job's row, and what its tenant is charged for it.
local function forget_job(id, tenant)
  local stored = num(redis.call('HGET', k('job', id), 'stored'))
  if stored > 0 and redis.call('HINCRBY', k('stored'), tenant, -stored) <= 0 then
    redis.call('HDEL', k('stored'), tenant)
  end
  forget_messages(id)
  redis.call('DEL', k('job', id))
  redis.call('ZREM', k('jobs', tenant), id)
end

-- What is left of an expired job takes its name and one number: the minute when it expired, and how many seconds after
-- its submission that was.
local LIFETIME = 2 ^ 27

local function bury(id, tenant, created, at)
  local minute = math.floor(at / 60000)
  local lived_s = math.max(0, math.min(LIFETIME - 1, minute * 60 - math.floor(num(created) / 1000)))
  redis.call('ZADD', k('expired', tenant), string.format('%.0f', minute * LIFETIME + lived_s), id)
  note_head(k('expired'), tenant, k('expired', tenant))
end

local function dig_out(id, tenant)
  if redis.call('ZREM', k('expired', tenant), id) == 0 then return false end
  note_head(k('expired'), tenant, k('expired', tenant))
  redis.call('HINCRBY', k('counts'), 'expired', -1)
  return true
end

-- An expired job as a row, or nil: see job_row.lua.
local function tomb(id, tenant)
  local score = redis.call('ZSCORE', k('expired', tenant), id)
  if not score then return nil end
  local minute, lived_s = math.floor(num(score) / LIFETIME), num(score) % LIFETIME
  local job = { 'id', id, 'tenant', tenant, 'comp', '', 'options', '{}', 'filename', '', 'sha', '', 'bytes', 0,
    'duration', 0, 'model', '', 'ttl', 0, 'cached', '0', 'created', (minute * 60 - lived_s) * 1000,
    'expired', minute * 60000 }
  for n, value in ipairs(job) do
    if type(value) == 'number' then job[n] = string.format('%.0f', value) end
  end
  return { job, {}, '', '', {} }
end
