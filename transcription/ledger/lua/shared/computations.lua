-- A computation's life, from its first change of state to the last job that leaves.

-- Audio goes when no computation needs it any more: its name waits for whoever deletes the bytes.
local function note_if_unneeded(sha)
  if redis.call('EXISTS', k('blob', sha)) == 0 then redis.call('ZADD', k('unneeded'), now(), sha) end
end

-- A job isn't, or no longer, on its way for audio.
local function withdraw_audio(sha, id)
  redis.call('ZREM', k('coming', sha), id)
  note_if_unneeded(sha)
end

local function release_audio(cid)
  local sha = redis.call('HGET', k('comp', cid), 'sha')
  if not sha then return end
  if redis.call('SREM', k('blob', sha), cid) == 1 then note_if_unneeded(sha) end
end

local function move(cid, status)
  local key = k('comp', cid)
  local before = redis.call('HGET', key, 'status')
  local jobs = redis.call('SMEMBERS', k('comp', cid, 'jobs'))
  redis.call('HSET', key, 'status', status)
  local ended = {} -- the jobs that this brings to their end, and how each ends
  for _, id in ipairs(jobs) do
    local parts = parts_of_id(id)
    local was, is = before, status
    for _, part in ipairs(parts) do
      if part ~= cid then
        local other = status_of(part)
        was, is = combined(was, other), combined(is, other)
      end
    end
    if was ~= is then
      redis.call('HINCRBY', k('counts'), was, -1)
      redis.call('HINCRBY', k('counts'), is, 1)
      if terminal(is) then ended[#ended + 1] = { id, is } end
      if terminal(was) then redis.call('ZREM', k('expiry'), id) end
      if parts[1] ~= cid then redis.call('PUBLISH', k('changed'), parts[1]) end
    end
  end
  if status == 'processing' and redis.call('HSETNX', key, 'started', now()) == 1 then
    local waited = now() - num(redis.call('HGET', key, 'created'))
    redis.call('HINCRBY', k('stats'), 'wait_ms', waited)
    observe('wait', cid, waited)
  end
  for _, job in ipairs(ended) do
    redis.call('ZREM', k('deadlines'), job[1])
    expire_after(job[1], now(), redis.call('HGET', key, 'dead_until'))
    enqueue_webhook(job[1], job[2], redis.call('HGET', key, 'error_code'))
  end
  if terminal(status) then
    redis.call('HSET', key, 'completed', now())
    count('computations_' .. status)
    if status == 'completed' and redis.call('HEXISTS', key, 'kind') == 0 then
      observe('transcript', cid, now() - num(redis.call('HGET', key, 'created')))
    end
    if status == 'completed' then
      -- Long ones soon, the others when nobody may be expected to ask for them any more.
      redis.call('ZADD', k('finished'), num(redis.call('HGET', key, 'spans')) > 1 and 0 or now(), cid)
    end
    local kept = status == 'completed' and KEEP_AUDIO == 1 or redis.call('HEXISTS', key, 'dead_until') == 1
    if not kept then release_audio(cid) end
    if status ~= 'completed' then forget_dedup(cid, redis.call('HGET', key, 'fingerprint')) end
  end
  audit(status, 'comp', cid)
  publish_event(cid, 'status', 'status', status)
end

-- Takes every span of a computation out of the queue and out of the workers' hands.
local function stop_spans(cid)
  for i = 0, num(redis.call('HGET', k('comp', cid), 'spans')) - 1 do
    local state = redis.call('HGET', k('span', cid, i), 'state')
    if state == 'pending' or state == 'delayed' then
      dequeue(cid, i)
      redis.call('HSET', k('span', cid, i), 'state', 'stopped')
    elseif state == 'running' then
      end_run(cid, i, 'stopped')
    end
  end
end

-- What isn't the input's fault becomes a dead letter, and is kept until an operator has had time to look at it.
local function fail_computation(cid, code, message, retryable, fault)
  stop_spans(cid)
  redis.call('HSET', k('comp', cid), 'error_code', code, 'error', message, 'error_retryable', retryable,
    'error_fault', fault)
  redis.call('HINCRBY', k('failures'), code, 1)
  if fault ~= 'input' then
    redis.call('ZADD', k('dead'), now(), cid)
    redis.call('HSET', k('comp', cid), 'dead_until', now() + DEAD_MS)
  end
  move(cid, 'failed')
end

local function drop_computation(cid)
  local key = k('comp', cid)
  local c = redis.call('HMGET', key, 'sha', 'fingerprint', 'spans', 'status')
  if not c[4] then return end
  if not terminal(c[4]) then
    stop_spans(cid)
    move(cid, 'canceled')
  end
  for i = 0, num(c[3]) - 1 do redis.call('DEL', k('span', cid, i), k('segs', cid, i)) end
  release_audio(cid)
  forget_dedup(cid, c[2])
  redis.call('ZREM', k('dead'), cid)
  redis.call('ZREM', k('finished'), cid)
  if redis.call('HEXISTS', key, 'archived') == 1 then redis.call('ZADD', k('dropped'), now(), cid) end
  redis.call('DEL', key, k('comp', cid, 'jobs'), k('events', cid))
  audit('dropped', 'comp', cid)
end

-- A job holds a computation. Of one that has left the ledger only their number is kept: it has nobody to tell of.
local function hold_computation(cid, id)
  if redis.call('HEXISTS', k('comp', cid), 'archived') == 1 then
    redis.call('HINCRBY', k('comp', cid), 'archived', 1)
  else
    redis.call('SADD', k('comp', cid, 'jobs'), id)
  end
end

-- A job lets go of a computation. Returns whether it held it, and how many still do.
local function let_go(cid, id, job)
  if redis.call('HEXISTS', k('comp', cid), 'archived') == 0 then
    local held = redis.call('SREM', k('comp', cid, 'jobs'), id) == 1
    return held, redis.call('SCARD', k('comp', cid, 'jobs'))
  end
  local gone = job.canceled or job.failed or job.expired
  if gone then return false, num(redis.call('HGET', k('comp', cid), 'archived')) end
  return true, redis.call('HINCRBY', k('comp', cid), 'archived', -1)
end

-- A job leaves its computations early; the last one to go stops the computing.
local function leave_computations(id, job, to)
  redis.call('ZREM', k('deadlines'), id)
  local status = job_status(job)
  local parts, holders, held = {}, {}, nil
  for _, cid in ipairs(parts_of(job)) do
    if not holders[cid] then -- two samples may be one
      local held_this
      held_this, holders[cid] = let_go(cid, id, job)
      if #parts == 0 then held = held_this end
      parts[#parts + 1] = cid
    end
  end
  if held then
    redis.call('HINCRBY', k('counts'), status, -1)
    if to then redis.call('HINCRBY', k('counts'), to, 1) end
  end
  for _, cid in ipairs(parts) do
    if status_of(cid) and holders[cid] == 0 then
      drop_computation(cid)
    elseif status_of(cid) then
      leave_place(cid, id)
    end
    redis.call('PUBLISH', k('changed'), cid)
  end
end

-- A job whose deadline has passed fails; the computation goes on only for others that wait for it.
local function miss_deadline(id)
  redis.call('ZREM', k('deadlines'), id)
  local job = job_hash(id)
  local status = job.comp and job_status(job)
  if not status or terminal(status) or job.canceled or job.expired then return end
  local why = 'it was not done before its deadline (deadline_s, or MURMUR_LIMITS__DEADLINE_INTERACTIVE_S and _BATCH_S)'
  audit('deadline exceeded', 'job', id, 'comp', job.comp)
  local late, shared = {}, false
  for _, cid in ipairs(parts_of(job)) do
    if not terminal(status_of(cid)) then
      late[#late + 1] = cid
      shared = shared or redis.call('SCARD', k('comp', cid, 'jobs')) > 1
    end
  end
  if not shared then
    for _, cid in ipairs(late) do fail_computation(cid, 'deadline_exceeded', why, 1, 'platform') end
    return
  end
  redis.call('HSET', k('job', id), 'failed', now(), 'error', why)
  redis.call('HINCRBY', k('failures'), 'deadline_exceeded', 1)
  expire_after(id, now())
  enqueue_webhook(id, 'failed', 'deadline_exceeded')
  leave_computations(id, job, 'failed')
end
