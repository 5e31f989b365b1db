-- Delete a job, and what nobody else holds. ARGV: job, tenant.
-- Returns 'unknown', or {'ok', {results to delete}, the SHA-256s that no computation needs any more}. Who is told one
-- deletes its bytes and then the key `deleting:S`; until then no new job may count on them.
local id, tenant = unpack(ARGV)
local at = now()
local job = job_hash(id)
if not job.id and dig_out(id, tenant) then return { 'ok', {} } end
if job.tenant ~= tenant then return 'unknown' end
audit('forgotten', 'job', id, 'comp', job.comp)
local audio, out = { job.sha }, { 'ok', {} }
for sha in string.gmatch(job.samples or '', '%S+') do audio[#audio + 1] = sha end
-- Jobs of earlier versions don't name their samples.
for cid in string.gmatch(not job.samples and job.references or '', '%S+') do
  audio[#audio + 1] = redis.call('HGET', k('comp', cid), 'sha') or nil -- gone with an expired job
end
leave_computations(id, job)
local left = job.expired and 'expired' or job.canceled and 'canceled' or job.failed and 'failed'
if left then redis.call('HINCRBY', k('counts'), left, -1) end
forget_job(id, job.tenant)
redis.call('ZREM', k('expiry'), id)
redis.call('ZREM', k('tombs'), id)
redis.call('HSETNX', k('config'), 'deleted', at)
for _, cid in ipairs(parts_of(job)) do
  if redis.call('ZSCORE', k('dropped'), cid) then out[2][#out[2] + 1] = cid end
end
for _, sha in ipairs(audio) do
  redis.call('ZREMRANGEBYSCORE', k('coming', sha), '-inf', at)
  if redis.call('EXISTS', k('blob', sha), k('coming', sha)) == 0 then
    redis.call('SET', k('deleting', sha), 1, 'PX', 60000)
    out[#out + 1] = sha
  end
end
return out
