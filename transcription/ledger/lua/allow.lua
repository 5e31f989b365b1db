-- Whether a tenant may have one more job, and so much more audio today; takes it when it may and ARGV names a job.
-- ARGV: tenant, jobs at once (0: any), ms of audio a day (0: any), job or '', ms of audio.
-- Returns {'ok' | 'jobs' | 'audio', jobs open, ms used today, ms until the day's end}.
local tenant, max_jobs, quota, id, length = ARGV[1], num(ARGV[2]), num(ARGV[3]), ARGV[4], num(ARGV[5])
local at, open = now(), k('open', tenant)
local day = math.floor(at / 86400000)
local used_key = k('used', tenant, day)
local used, left = num(redis.call('GET', used_key)), (day + 1) * 86400000 - at

-- Jobs leave this set only here, and only when it is full, so it never holds more than the limit.
if max_jobs > 0 and redis.call('ZCARD', open) >= max_jobs then
  for _, one in ipairs(redis.call('ZRANGE', open, 0, -1)) do
    local job = job_hash(one)
    local status = job.comp and job_status(job)
    local ended = job.canceled or job.failed or job.expired or terminal(status)
    -- A job that isn't there yet may still be on its way.
    if not job.id then ended = at - num(redis.call('ZSCORE', open, one)) > 60000 end
    if ended then redis.call('ZREM', open, one) end
  end
end
local jobs = redis.call('ZCARD', open)
if max_jobs > 0 and jobs >= max_jobs then return { 'jobs', jobs, used, left } end
if quota > 0 and used + length > quota then return { 'audio', jobs, used, left } end
if id ~= '' then
  if max_jobs > 0 then redis.call('ZADD', open, at, id) end
  if quota > 0 and length > 0 then
    redis.call('INCRBY', used_key, length)
    redis.call('PEXPIRE', used_key, left + 3600000)
  end
end
return { 'ok', jobs, used, left }
