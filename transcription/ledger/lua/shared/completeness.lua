-- Whether all of a transcript is there, and what happens where it isn't.

-- Whether a recording was cut: a server that forgot its last writes may know only the claim of the first span.
local function was_cut(cid, i) return redis.call('HEXISTS', k('span', cid, i), 'speech') == 1 end

-- Whether a span's windows are all there: so many, and each with its segments.
local function written(cid, i, windows)
  return num(redis.call('HGET', k('span', cid, i), 'windows')) == windows
    and redis.call('LLEN', k('segs', cid, i)) == windows
end

-- Take a span from a worker that believes more of it to be written than is; whoever claims it goes on where it stands.
local function give_up(cid, i, token)
  local queue = redis.call('HGET', k('span', cid, i), 'place')
  redis.call('HSET', k('span', cid, i), 'windows', redis.call('LLEN', k('segs', cid, i)))
  end_run(cid, i, 'stopped')
  count('gaps')
  audit('gap', 'comp', cid, 'span', i, 'token', token)
  enqueue(cid, i, queue)
  promote(cid)
  return 'lost'
end

-- Whether the spans, one after the other, are the whole recording, and every window of theirs is there.
local function covered(cid)
  local c = redis.call('HMGET', k('comp', cid), 'spans', 'duration')
  local reached = 0
  for i = 0, num(c[1]) - 1 do
    local span = redis.call('HMGET', k('span', cid, i), 'state', 'start', 'end', 'windows')
    if span[1] ~= 'done' or num(span[2]) ~= reached or not written(cid, i, num(span[4])) then return false end
    reached = num(span[3])
  end
  return reached == num(c[2])
end

-- Drop all that was written: the recording is one span again, which waits to be cut.
local function begin_anew(cid)
  local comp = k('comp', cid)
  for i = 0, num(redis.call('HGET', comp, 'spans')) - 1 do redis.call('DEL', k('span', cid, i), k('segs', cid, i)) end
  redis.call('HSET', comp, 'spans', 1, 'spans_done', 0, 'done', 0)
  redis.call('HDEL', comp, 'closing')
  redis.call('HSET', k('span', cid, 0), 'start', 0, 'end', redis.call('HGET', comp, 'duration'), 'done', 0,
    'windows', 0, 'attempts', 0)
  enqueue(cid, 0)
end

local MAX_RESTARTS = 2

-- What was written isn't the whole recording: a transcript with a hole is never given out, the computation begins anew.
local function start_over(cid)
  audit('started over', 'comp', cid)
  count('started_over')
  if redis.call('HINCRBY', k('comp', cid), 'restarts', 1) > MAX_RESTARTS then
    fail_computation(cid, 'result_incomplete', 'the spans that were written do not cover the recording', 1, 'engine')
    return 'unwanted'
  end
  begin_anew(cid)
  return 'held'
end
