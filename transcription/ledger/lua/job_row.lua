-- A job as scripts answer with it, and where it stands. The position is the number of spans that wait before it; ms
-- ahead is their audio and what is left of the running spans, '' where a length isn't known or too many are ahead.
-- A part of the scripts that answer with jobs; it reads no ARGV: they hand it the job.
local SCAN_LIMIT = 200

local left_running
local function running()
  if left_running then return left_running end
  left_running = redis.call('ZCARD', k('leases')) > SCAN_LIMIT and '' or 0
  for _, name in ipairs(redis.call('ZRANGE', k('leases'), 0, SCAN_LIMIT - 1)) do
    if left_running == '' then break end
    local cid, i = split_name(name)
    local span = redis.call('HMGET', k('span', cid, i), 'start', 'end', 'done')
    local length = num(span[2]) - num(span[1])
    left_running = length > 0 and left_running + math.max(0, length - num(span[3])) or ''
  end
  return left_running
end

local function ahead(cid, class)
  local rank = redis.call('ZRANK', k('order', class), cid .. '/0')
  if not rank then return '', '' end
  local earlier = class == 'batch' and redis.call('ZCARD', k('order', 'interactive')) or 0
  local ms = earlier > 0 and num(redis.call('HGET', k('backlog'), 'ms:interactive')) or 0
  if rank > SCAN_LIMIT or running() == '' then return rank + earlier, '' end
  ms = ms + running()
  if rank > 0 then
    local before = redis.call('ZRANGE', k('order', class), 0, rank - 1)
    local known = redis.call('HMGET', k('lengths'), unpack(before))
    for n, name in ipairs(before) do
      local length = known[n] and num(known[n]) or length_of(hash(k('span', split_name(name))))
      if length == 0 then return rank + earlier, '' end
      ms = ms + length
    end
  end
  return rank + earlier, ms
end

-- {job hash, computation hash, position, ms ahead, hashes of what else it waits for}
local function job_row(id, with_position)
  local job = redis.call('HGETALL', k('job', id))
  local parts = parts_of_id(id)
  local cid = parts[1]
  local position, ms = '', ''
  if with_position then
    local comp = redis.call('HMGET', k('comp', cid), 'status', 'class')
    local status = comp[1]
    for n = 2, #parts do status = combined(status, status_of(parts[n])) end
    if status == 'queued' then position, ms = ahead(cid, comp[2]) end
  end
  return { job, redis.call('HGETALL', k('comp', cid)), position, ms, further_parts(id) }
end
