-- A job as scripts answer with it, and where it stands. The position is the number of spans that wait before it; ms
-- ahead is their audio and what is left of the running spans, '' where a length isn't known. Of more than NEAR spans
-- before it the audio is their number's share of all that waits: who asks costs the same, however many wait.
-- A part of the scripts that answer with jobs; it reads no ARGV: they hand it the job.
local NEAR = 32

-- The audio of the first spans of a class; '' where a length isn't known.
local function waits_before(class, rank, totals)
  if rank > NEAR then
    if num(totals['unknown:' .. class]) > 0 then return '' end
    return math.floor(num(totals['first:' .. class]) * rank / redis.call('ZCARD', k('order', class)))
  end
  local ms = 0
  for _, name in ipairs(rank > 0 and redis.call('ZRANGE', k('order', class), 0, rank - 1) or {}) do
    local span = redis.call('HMGET', k('span', split_name(name)), 'start', 'end')
    local length = num(span[2]) - num(span[1])
    if length <= 0 then return '' end
    ms = ms + length
  end
  return ms
end

local function ahead(cid, class)
  local rank = redis.call('ZRANK', k('order', class), cid .. '/0')
  if not rank then return '', '' end
  local totals, batch = hash(k('backlog')), class == 'batch'
  local position = rank + (batch and redis.call('ZCARD', k('order', 'interactive')) or 0)
  local before = num(totals.unknown) == 0 and waits_before(class, rank, totals) or ''
  if before == '' then return position, '' end
  return position, before + num(totals.running) + (batch and num(totals['ms:interactive']) or 0)
end

-- {job hash, computation hash, position, ms ahead, hashes of what else it waits for}
local function job_row(id, with_position)
  local job = flat_job(id)
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
