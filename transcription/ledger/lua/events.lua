-- The events of a job. ARGV: job, tenant, id to begin with ('-', ID or '(ID'), entries at most.
-- Returns {} for an unknown job, else {job hash, computation hash, hashes of what else it waits for (see common.lua),
-- id of the last entry there is or ''}, and then for each entry {id, fields, the window's segments (JSON) or ''}.
local id, tenant, first_entry, most = unpack(ARGV)
local job = hash(k('job', id))
local buried = not job.id and tomb(id, tenant)
if buried then return { buried[1], {}, {}, '' } end
if not job.id or job.tenant ~= tenant then return {} end
local stream = k('events', job.comp)
local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local out = {
  redis.call('HGETALL', k('job', id)), redis.call('HGETALL', k('comp', job.comp)),
  further_parts(id), last and last[1] or '' }
for _, entry in ipairs(redis.call('XRANGE', stream, first_entry, '+', 'COUNT', most)) do
  local fields, segments = {}, ''
  for f = 1, #entry[2], 2 do fields[entry[2][f]] = entry[2][f + 1] end
  if fields.kind == 'window' then
    segments = redis.call('LINDEX', k('segs', job.comp, fields.span), fields.window) or ''
  end
  out[#out + 1] = { entry[1], entry[2], segments }
end
return out
