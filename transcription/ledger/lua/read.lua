-- Jobs with what is known of their computations. ARGV: tenant ('' for any), whether positions are wanted (0 or 1),
-- jobs... Returns for each its row (see job_row.lua), or ''.
local tenant, positions, out = ARGV[1], ARGV[2] == '1', {}
for a = 3, #ARGV do
  local owner = redis.call('HGET', k('job', ARGV[a]), 'tenant')
  if not owner or (tenant ~= '' and owner ~= tenant) then
    out[#out + 1] = not owner and tomb(ARGV[a], tenant) or ''
  else
    out[#out + 1] = job_row(ARGV[a], positions)
  end
end
return out
