-- The events of a job. ARGV: job, tenant, entries at most, then for each of its channels the id to begin with ('-', ID
-- or '(ID'); a job that doesn't tell its channels apart has one. Ids that are missing are '-'.
-- Returns {} for an unknown job, else {job hash, computation hash, hashes of what else it waits for (see shared/),
-- {ids of the last entry there is or '', one for each channel}}, and then for each entry {channel from 0 on, id,
-- fields, the window's segments (JSON) or ''}.
local id, tenant, most = unpack(ARGV)
local starts = { unpack(ARGV, 4) }
local job = job_hash(id)
local buried = not job.id and tomb(id, tenant)
if buried then return { buried[1], {}, {}, '' } end
if not job.id or job.tenant ~= tenant then return {} end
local channels, lasts = { job.comp }, {}
for cid in string.gmatch(job.channels or '', '%S+') do channels[#channels + 1] = cid end
local out = {
  flat_job(id), redis.call('HGETALL', k('comp', job.comp)), further_parts(id), lasts }
for n, cid in ipairs(channels) do
  local stream = k('events', cid)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  lasts[n] = last and last[1] or ''
  for _, entry in ipairs(redis.call('XRANGE', stream, starts[n] or '-', '+', 'COUNT', most)) do
    local fields, segments = {}, ''
    for f = 1, #entry[2], 2 do fields[entry[2][f]] = entry[2][f + 1] end
    if fields.kind == 'window' then
      segments = redis.call('LINDEX', k('segs', cid, fields.span), fields.window) or ''
    end
    out[#out + 1] = { n - 1, entry[1], entry[2], segments }
  end
end
return out
