-- Cancel a job. ARGV: job, tenant. Returns {'ok' or 'finished', the job's row (see job_row.lua)}, or {'unknown'}.
local id, tenant = unpack(ARGV)
local job = job_hash(id)
local buried = not job.id and tomb(id, tenant)
if buried then return { 'finished', buried } end
if job.tenant ~= tenant then return { 'unknown' } end
if job.canceled or job.failed or job.expired or terminal(job_status(job)) then
  return { 'finished', job_row(id, false) }
end
redis.call('HSET', k('job', id), 'canceled', now())
count('canceled')
audit('job canceled', 'job', id, 'comp', job.comp)
expire_after(id, now())
enqueue_webhook(id, 'canceled')
leave_computations(id, job, 'canceled')
return { 'ok', job_row(id, false) }
