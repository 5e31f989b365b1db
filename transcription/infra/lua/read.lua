-- Tickets with what is known of their computations. ARGV: tenant ('' for any), tickets...
-- Returns for each {ticket hash, computation hash, place, ms ahead, seconds-per-second of the live workers} or ''.
local out = {}

local function ahead(cid, class)
  local name = cid .. '/0'
  local rank = redis.call('ZRANK', k('order', class), name)
  if not rank then return '', '' end
  local earlier = class == 'batch' and redis.call('ZCARD', k('order', 'interactive')) or 0
  local ms = earlier > 0 and num(redis.call('HGET', k('backlog'), 'ms:interactive')) or 0
  if rank > 200 then return rank + earlier, '' end
  if rank > 0 then
    for _, other in ipairs(redis.call('ZRANGE', k('order', class), 0, rank - 1)) do
      local c, i = split_name(other)
      ms = ms + length_of(hash(k('span', c, i)))
    end
  end
  return rank + earlier, ms
end

for a = 2, #ARGV do
  local job = redis.call('HGETALL', k('job', ARGV[a]))
  local flat = hash(k('job', ARGV[a]))
  if #job == 0 or (ARGV[1] ~= '' and flat.tenant ~= ARGV[1]) then
    out[#out + 1] = ''
  else
    local comp = hash(k('comp', flat.comp))
    local place, ms = '', ''
    if comp.status == 'queued' then place, ms = ahead(flat.comp, comp.class) end
    out[#out + 1] = { job, redis.call('HGETALL', k('comp', flat.comp)), place, ms }
  end
end
return out
