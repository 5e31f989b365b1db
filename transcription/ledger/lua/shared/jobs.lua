-- Jobs and the computations that they wait for.

-- A quota was charged with what a file claims to be long; now that its length is known, the same day gets the rest.
local function settle_quota(cid, true_ms)
  local c = redis.call('HMGET', k('comp', cid), 'charged', 'charged_to')
  if not c[1] then return end
  if redis.call('EXISTS', c[2]) == 1 then redis.call('INCRBY', c[2], math.floor(true_ms) - num(c[1])) end
  redis.call('HSET', k('comp', cid), 'charged', true_ms)
end

local function terminal(status) return status == 'completed' or status == 'failed' or status == 'canceled' end

-- The status of a job that waits for two computations: it fails with either, and ends with both.
local function combined(one, other)
  if not other or one == other then return one end
  for _, status in ipairs({ 'failed', 'canceled' }) do
    if one == status or other == status then return status end
  end
  return 'processing'
end

local function status_of(cid) return cid and redis.call('HGET', k('comp', cid), 'status') end

-- All computations that a job waits for: its transcript's first, then those of its further channels.
local function parts_of(job)
  local parts = { job.comp }
  for cid in string.gmatch(job.channels or '', '%S+') do parts[#parts + 1] = cid end
  if job.speakers then parts[#parts + 1] = job.speakers end
  for cid in string.gmatch(job.references or '', '%S+') do parts[#parts + 1] = cid end
  return parts
end

local function parts_of_id(id)
  local job = redis.call('HMGET', k('job', id), 'comp', 'speakers', 'references', 'channels')
  return parts_of({
    comp = job[1] or nil, speakers = job[2] or nil, references = job[3] or nil, channels = job[4] or nil })
end

-- What a job waits for besides its transcript, or its first channel's: the hashes of its further channels, of its
-- diarization, and of its known speakers' references.
local function further_parts(id)
  local parts, out = parts_of_id(id), {}
  for n = 2, #parts do out[n - 1] = redis.call('HGETALL', k('comp', parts[n])) end
  return out
end

-- A job's status by its computations; nil when they are gone.
local function job_status(job)
  local parts = parts_of(job)
  local status = status_of(parts[1])
  for n = 2, #parts do status = combined(status, status_of(parts[n])) end
  return status
end
