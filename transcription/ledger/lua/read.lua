-- Jobs with what is known of their computations. ARGV: tenant ('' for any), jobs...
-- Returns for each {job hash, computation hash, position, ms ahead} or ''.
-- The position is the number of spans that wait before it; ms ahead is their audio and what is left of the
-- running spans, '' where a length isn't known or too many are ahead.
local SCAN_LIMIT = 200
local tenant, out = ARGV[1], {}

local left_running
local function running()
  if left_running then return left_running end
  left_running = 0
  if redis.call('ZCARD', k('leases')) > SCAN_LIMIT then left_running = '' end
  for _, name in ipairs(redis.call('ZRANGE', k('leases'), 0, SCAN_LIMIT - 1)) do
    if left_running == '' then break end
    local cid, i = split_name(name)
    local span = hash(k('span', cid, i))
    left_running = length_of(span) > 0 and left_running + math.max(0, length_of(span) - num(span.done)) or ''
  end
  return left_running
end

local function ahead(cid, class)
  local name = cid .. '/0'
  local rank = redis.call('ZRANK', k('order', class), name)
  if not rank then return '', '' end
  local earlier = class == 'batch' and redis.call('ZCARD', k('order', 'interactive')) or 0
  local ms = earlier > 0 and num(redis.call('HGET', k('backlog'), 'ms:interactive')) or 0
  if rank > SCAN_LIMIT or running() == '' then return rank + earlier, '' end
  ms = ms + running()
  if rank > 0 then
    for _, other in ipairs(redis.call('ZRANGE', k('order', class), 0, rank - 1)) do
      local c, i = split_name(other)
      local length = length_of(hash(k('span', c, i)))
      if length == 0 then return rank + earlier, '' end
      ms = ms + length
    end
  end
  return rank + earlier, ms
end

for a = 2, #ARGV do
  local job = redis.call('HGETALL', k('job', ARGV[a]))
  local flat = hash(k('job', ARGV[a]))
  if #job == 0 or (tenant ~= '' and flat.tenant ~= tenant) then
    out[#out + 1] = ''
  else
    local comp = hash(k('comp', flat.comp))
    local position, ms = '', ''
    if comp.status == 'queued' then position, ms = ahead(flat.comp, comp.class) end
    out[#out + 1] = { job, redis.call('HGETALL', k('comp', flat.comp)), position, ms }
  end
end
return out
