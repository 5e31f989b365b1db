-- Give a job's speakers names. ARGV: job, tenant, names (JSON: label -> name, '' to take one back).
-- Returns the job's row (see job_row.lua), or {} for an unknown job.
local id, tenant, names = unpack(ARGV)
if redis.call('HGET', k('job', id), 'tenant') ~= tenant then return {} end
local known = cjson.decode(redis.call('HGET', k('job', id), 'names') or '{}')
for label, name in pairs(cjson.decode(names)) do known[label] = name ~= '' and name or nil end
redis.call('HSET', k('job', id), 'names', next(known) and cjson.encode(known) or '{}')
audit('speakers named', 'job', id)
return job_row(id, false)
