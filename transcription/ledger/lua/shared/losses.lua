-- Spans whose process died or hangs: who is to blame.

-- Take a span from a process that is gone. Whoever is charged loses an attempt and is a suspect, before its last
-- attempt one that runs alone; whoever is suspected loses none; all others come back as they were.
local function lose(cid, i, verdict, crowd, max_attempts)
  local key = k('span', cid, i)
  local span = hash(key)
  end_run(cid, i, 'stopped')
  count('reaped')
  audit('reaped', 'comp', cid, 'span', i, 'worker', span.worker, 'crowd', crowd, 'verdict', verdict,
    'claimed', span.claimed)
  local queue
  if verdict == 'charged' then
    local attempts = redis.call('HINCRBY', key, 'attempts', 1)
    if attempts >= max_attempts then
      return fail_computation(cid, 'worker_lost', 'every worker that tried this recording died or hung; attempts: '
        .. attempts .. ' (MURMUR_LEASE__MAX_ATTEMPTS)', 1, 'engine')
    end
    queue = attempts >= max_attempts - 1 and 'solitary' or 'suspect'
  elseif verdict == 'suspected' then
    queue = 'suspect'
  end
  if queue then redis.call('HINCRBY', key, 'crashes', 1) end
  enqueue(cid, i, queue)
  promote(cid)
end

-- These spans of one process are lost in one step: it died with them, or hangs in them. Deciding span by span would
-- blame the last one, which only seems to have been alone. The only one is charged. So is the suspect among others; the
-- others are held to be good, but for those that were in a crash before. Among equals all are suspected.
local function lose_all(worker, names, max_attempts)
  local suspect, among = redis.call('GET', k('suspect', worker)), false
  for _, name in ipairs(names) do among = among or name == suspect end
  for _, name in ipairs(names) do
    local cid, i = split_name(name)
    local verdict = 'suspected'
    if #names == 1 or name == suspect then
      verdict = 'charged'
    elseif among and num(redis.call('HGET', k('span', cid, i), 'crashes')) == 0 then
      verdict = 'innocent'
    end
    -- An earlier one of these may have failed the whole computation.
    if redis.call('HGET', k('span', cid, i), 'state') == 'running' then lose(cid, i, verdict, #names, max_attempts) end
  end
  return #names
end

-- A worker's process is gone: all that it held is lost in one step, whenever each lease would have ended. Returns how
-- many spans came back.
local function process_died(worker, max_attempts)
  local lost = lose_all(worker, redis.call('SMEMBERS', k('held', worker)), max_attempts)
  redis.call('DEL', k('alone', worker), k('suspect', worker))
  return lost
end
