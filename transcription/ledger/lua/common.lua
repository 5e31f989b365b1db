-- The ledger: what is true of every job. Each change of state is one script of this folder, and the server runs it in
-- one atomic step: first these lines, then schema.lua, then the script itself.
--
-- KEYS[1] is the prefix of all keys. scripts.py puts constants in front: AUDIT, the length of the audit stream,
-- BOUNDS_S, the upper bounds of the histograms, DEAD_MS, how long dead letters are kept, and
-- KEEP_AUDIO, whether audio stays as long as its result. Times are milliseconds of
-- the server's clock, lengths are milliseconds of audio. A span's name is `C/I`. A script's first lines name its
-- arguments.
--
-- Keys, where ID is a job, T a tenant, C a computation, I the index of a span in it, L a lane (see lanes.py), B a base
-- (a lane without its language), W a worker, M a message, F a fingerprint, S a SHA-256, CLASS `interactive` or `batch`:
--
--   coming:S          zset    jobs for a recording that are on their way, by when they are given up
--   deleting:S        string  a recording whose bytes are being deleted now
--   stored            hash    tenant -> bytes of the ledger that its jobs' requests take
--   job:ID            hash    a job: tenant, comp, options, audio, ttl, stored; `canceled` or `expired`: when that was;
--                             `channels`: where each channel is transcribed by itself, the computations of those after
--                             the first, with spaces between;
--                             `speakers`: the diarization that it waits for as well; `references`: those of the
--                             samples of known speakers' voices, with spaces between; `names`: what its speakers are
--                             called (JSON)
--   jobs:T            zset    a tenant's jobs by the time of their submission
--   idem:T:K          hash    idempotency key -> job, payload; gone after a day
--   open:T            zset    jobs that count against a tenant's limit of concurrent jobs; only where there is a limit
--   used:T:DAY        string  audio that a tenant has used of its quota on a day (days since 1970, UTC)
--
--   comp:C            hash    a computation: status, audio, model, lane, decoding, spans, progress, error; where it
--                             waits: class, tenant and since, those of the job `placed_by`;
--                             `lead`: its running spans and the one that waits in `first`; `kind`: `speakers` for a
--                             diarization, which writes voices, not segments, and whose last span, of no length,
--                             waits for all others and says who is who (`closing`: it was made); `archived`: its spans,
--                             texts and events, and most of this, are in the result store;
--                             `same_as`: another channel of the recording that has its sound, and says its text
--   comp:C:jobs       set     jobs that wait for it or keep its result; when the last one leaves, it is deleted; of an
--                             archived one only their number is left: `archived`
--   span:C:I          hash    state (pending running delayed done stopped), start, end, speech, token, worker,
--                             request (the claim's), attempts, windows, `language` of the last one, where it was told;
--                             `place`: the queue it waits in, or was taken from last (first, extra, avoided, suspect,
--                             solitary); `crashes`: processes that died with it;
--                             `acquitted_at`: windows after which it is no suspect any more; after a fault of the
--                             platform: faults, faulting (since when) and avoid (workers that met it, a line each);
--                             while it runs: `left`, its share of the backlog's `running`; -1: of unknown length
--   segs:C:I          list    a span's segments, one JSON array for each window
--   events:C          stream  what watchers are shown: changes of state, and which window was written
--   changed           channel a message, the computation's id, for every change
--   dedup:F           string  fingerprint -> the computation that new jobs join
--   blob:S            set     computations that need this audio: those that aren't finished, and dead letters
--   finished          zset    finished computations whose texts are in the ledger, by when that was; 0 for long ones
--   dropped           zset    computations that are gone and whose results are to be deleted from the result store
--   unneeded          zset    audio that no computation needs any more, by when that was; its bytes are to be deleted
--
--   first:CLASS:L:T   zset    queue `first`: a span each of the computations that no worker works on, by age
--   lanes:CLASS:B:T   zset    a tenant's lanes of a base that have spans in `first`, by the age of the oldest
--   tenants:CLASS:B   zset    tenants with spans in `first`, by the audio that they have running; a member is the token
--                             of the tenant's last claim, 16 digits, then its name: the longest ago comes first
--   order:CLASS       zset    the spans of `first` over all lanes and tenants, by age
--   extra:L           zset    queue `extra`: further spans of computations in work, by class and age
--   extras:B          zset    lanes of a base that have spans in `extra`, by the score of the first
--   avoided:L         zset    queue `avoided`: spans that some workers must leave to others, by class and age
--   suspects:L        zset    queue `suspect`: spans that were running when a process died, by class and time; a
--                             process runs one of them at a time, beside ordinary spans
--   solitary:L        zset    queue `solitary`: suspects before their last attempt, which nothing runs beside
--   aside             hash    `QUEUE:L` -> spans in these three queues
--   pending           hash    lane -> spans that wait in one of the queues
--   bases             hash    base -> spans that wait in its lanes
--   unserved          hash    lane -> since when nobody has served it, though other workers live
--   delayed           zset    spans that wait before their next attempt, by due time
--   served            hash    tenant -> token of its last claim
--   passed            hash    base -> interactive claims in a row while a batch span waited
--
--   leases            zset    running spans by the end of their lease
--   fence             string  the last fencing token: microseconds of the server's clock, and always growing
--   running           hash    tenant -> audio of its running spans
--   held:W            set     spans that a worker's process holds
--   suspect:W         string  the suspect that a worker runs
--   alone:W           string  the suspect that a worker runs with nothing beside it
--   drainer           string  the worker that takes nothing more, so as to have room for a solitary suspect
--   workers           zset    workers by their last heartbeat
--   worker:W          hash    what a worker reports: incarnation, info (JSON), kind (models and traits), rate,
--                             revisions
--   revisions         hash    model -> revision of its weights, by the worker that said so last
--
--   outbox            zset    webhook messages to be sent, by the time of the next try, or the end of a sender's lease
--   outbox:wake       list    one entry when a message is due: whoever takes it looks for that; ends by itself
--   hook:M            hash    a message: job, status, error, at, since, attempts, tries; state: pending, delivered,
--                             failed, gone
--   hooklog:ID        list    the last deliveries that were tried for a job, JSON
--   sending:T         zset    messages of a tenant that are being sent, by the end of their sender's lease
--   sending:T:H       zset    those of them to one host
--   silent:T:H        hash    how often in a row a tenant's host gave no answer; `until`: nothing is sent to it before
--   hooksecrets:T     hash    secrets that sign a tenant's webhooks: id -> secret, created (JSON)
--   gone:T:U          string  a receiver that answered 410, by the digest of its URL
--
--   expiry            zset    finished jobs by the end of their retention
--   expired:T         zset    a tenant's expired jobs, of which nothing else is kept; see `tomb` for the score
--   expired           zset    tenants that have such jobs, by the score of the first
--   tombs             zset    expired jobs that had messages to be sent, with all of them, by when they are forgotten
--   deadlines         zset    unfinished jobs by the time after which they fail
--   dead              zset    dead letters: failed computations that an operator may retry, by time
--
--   counts            hash    status -> jobs
--   backlog           hash    `spans` that can be claimed, and their audio by class (`ms:CLASS`), that of those in
--                             `first` (`first:CLASS`), and how many of these have an unknown length (`unknown:CLASS`);
--                             what is left of the running spans (`running`), and how many of them have an unknown
--                             length (`unknown`)
--   stats             hash    counters since the beginning
--   failures          hash    error code -> failed computations
--   warnings          hash    warning's code -> how often results had it
--   latencies         hash    histograms of `wait` and `transcript`: NAME:CLASS:BOUND and NAME:CLASS:ms
--   config            hash    times of the last reaping and of the end of the grace after an outage; result_ttl: the
--                             retention of jobs that ask for none; shorten_from: how far a shorter one was applied
--   audit             stream  every change of state
--   schema            string  version of this layout, see schema.lua
--
--   keys, key:H       hash    API keys, see api_keys.py: id -> digest of the secret; the key of a digest
--   keyused           hash    id of an API key -> when it was used last
--   auditevents       list    what was done to keys and tenants by hand, until it is in the audit log
--   audithead:CHAIN   string  how far a chain of the audit log has got, see audit_heads.py
--   backup            hash    when the last good backup was taken and how often one is due, see backup_record.py
--   lock:NAME         string  who reaps or sweeps now, see span_store.py; ends by itself
--
-- Invariants, which hold after every script and which a test checks after every step of random histories:
--   1. A span is in exactly one of first, extra, avoided, suspects, solitary, delayed and leases, unless it is done or
--      stopped.
--   2. A running span has the token of its last claim, and it is in held:W of the worker that claimed it.
--   3. A computation that isn't finished has a job, and a span that is running, delayed, in `first` or in `suspects`.
--   4. backlog, pending, bases, aside, running, counts and lead are what they total; lanes, tenants and extras name
--      what waits, at its place.
--   5. A write with another token than the span's changes nothing; a window is written once, a span is finished once.
--   6. The step that ends a job with a webhook writes a message, which is in the outbox until it is settled.
local P = KEYS[1]
local CLASSES = { 'interactive', 'batch' }
local LATER = 1e14 -- what puts all of a class behind another where the score is a time

local function k(...) return P .. table.concat({ ... }, ':') end

local clock
local function now()
  if not clock then
    local t = redis.call('TIME')
    clock = t[1] * 1000 + math.floor(t[2] / 1000)
  end
  return clock
end

local function split_name(name)
  local at = string.find(name, '/', 1, true)
  return string.sub(name, 1, at - 1), string.sub(name, at + 1)
end

local function num(value) return tonumber(value or 0) or 0 end

-- A number is negated as `0 - n`: `-0` is written «-0», which servers before Redis 7.2 don't take for an integer.

local function hash(key)
  local flat, out = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do out[flat[i]] = flat[i + 1] end
  return out
end

local function audit(what, ...)
  if AUDIT > 0 then redis.call('XADD', k('audit'), 'MAXLEN', '~', AUDIT, '*', 'what', what, ...) end
end

local function count(name, by) redis.call('HINCRBY', k('stats'), name, by or 1) end

-- Adds a length of time to a histogram. A dead letter that is retried doesn't count twice.
local function observe(name, cid, length)
  local c = redis.call('HMGET', k('comp', cid), 'class', 'revived')
  if c[2] then return end
  local within = '+Inf'
  for _, bound in ipairs(BOUNDS_S) do
    if length <= bound * 1000 then
      within = bound
      break
    end
  end
  redis.call('HINCRBY', k('latencies'), table.concat({ name, c[1], within }, ':'), 1)
  redis.call('HINCRBY', k('latencies'), table.concat({ name, c[1], 'ms' }, ':'), math.floor(length))
end

-- Tell watchers. Every change of a computation ends here.
local function publish_event(cid, kind, ...)
  redis.call('XADD', k('events', cid), '*', 'kind', kind, ...)
  redis.call('PUBLISH', k('changed'), cid)
end

local function publish_progress(cid, kind, ...)
  local c = redis.call('HMGET', k('comp', cid), 'done', 'duration')
  publish_event(cid, kind, 'done', c[1], 'duration', c[2], ...)
end

-- Keeps what a result lacks, counts it by code, and shows it to watchers; a computation keeps so much and no more.
local MAX_WARNINGS_BYTES = 40000
local function add_warnings(cid, written)
  if written == '' then return end
  local before = redis.call('HGET', k('comp', cid), 'warnings')
  local all = before and (before .. '\n' .. written) or written
  if #all > MAX_WARNINGS_BYTES then return end
  redis.call('HSET', k('comp', cid), 'warnings', all)
  for code in string.gmatch('\n' .. written, '\n([%l_]+) ') do redis.call('HINCRBY', k('warnings'), code, 1) end
  publish_event(cid, 'warning', 'warnings', written)
end

-- A quota was charged with what a file claims to be long; now that its length is known, the same day gets the rest.
local function settle_quota(cid, true_ms)
  local c = redis.call('HMGET', k('comp', cid), 'charged', 'charged_to')
  if not c[1] then return end
  if redis.call('EXISTS', c[2]) == 1 then redis.call('INCRBY', c[2], math.floor(true_ms) - num(c[1])) end
  redis.call('HSET', k('comp', cid), 'charged', true_ms)
end

local function terminal(status) return status == 'completed' or status == 'failed' or status == 'canceled' end

-- The status of a job that waits for two computations: it fails with either, and ends with both.
local function combined(one, other)
  if not other or one == other then return one end
  for _, status in ipairs({ 'failed', 'canceled' }) do
    if one == status or other == status then return status end
  end
  return 'processing'
end

local function status_of(cid) return cid and redis.call('HGET', k('comp', cid), 'status') end

-- All computations that a job waits for: its transcript's first, then those of its further channels.
local function parts_of(job)
  local parts = { job.comp }
  for cid in string.gmatch(job.channels or '', '%S+') do parts[#parts + 1] = cid end
  if job.speakers then parts[#parts + 1] = job.speakers end
  for cid in string.gmatch(job.references or '', '%S+') do parts[#parts + 1] = cid end
  return parts
end

local function parts_of_id(id)
  local job = redis.call('HMGET', k('job', id), 'comp', 'speakers', 'references', 'channels')
  return parts_of({
    comp = job[1] or nil, speakers = job[2] or nil, references = job[3] or nil, channels = job[4] or nil })
end

-- What a job waits for besides its transcript, or its first channel's: the hashes of its further channels, of its
-- diarization, and of its known speakers' references.
local function further_parts(id)
  local parts, out = parts_of_id(id), {}
  for n = 2, #parts do out[n - 1] = redis.call('HGETALL', k('comp', parts[n])) end
  return out
end

-- A job's status by its computations; nil when they are gone.
local function job_status(job)
  local parts = parts_of(job)
  local status = status_of(parts[1])
  for n = 2, #parts do status = combined(status, status_of(parts[n])) end
  return status
end

-- ---------------------------------------------------------------- queues of spans

local function length_of(span) return num(span['end']) - num(span['start']) end

-- Languages are what most lanes differ in, and most workers know all of them: those look at one queue for all.
local function base_of(lane) return (string.gsub(lane, '\nlanguage=[^\n]*', '')) end

local function bases() return redis.call('HKEYS', k('bases')) end

-- Adds to a total, and leaves no total of nothing.
local function total(key, field, by)
  if redis.call('HINCRBY', key, field, by) == 0 then redis.call('HDEL', key, field) end
end

-- A tenant's member in `tenants:CLASS:B`.
local function turn_of(tenant, token) return string.format('%016.0f ', num(token)) .. tenant end

local function tenant_of(turn) return string.sub(turn, 18), num(string.sub(turn, 1, 16)) end

-- A tenant has other audio running, and another last claim.
local function move_tenant(tenant, before, token, running)
  local old, new = turn_of(tenant, before), turn_of(tenant, token)
  for _, base in ipairs(bases()) do
    for _, class in ipairs(CLASSES) do
      local tenants = k('tenants', class, base)
      if old == new then
        redis.call('ZADD', tenants, 'XX', running, new)
      elseif redis.call('ZREM', tenants, old) == 1 then
        redis.call('ZADD', tenants, running, new)
      end
    end
  end
end

-- Notes in a zset of lanes what score the first span of a lane has; a lane whose queue is empty is not in it.
local function note_head(lanes, lane, queue)
  local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  if head[1] then redis.call('ZADD', lanes, head[2], lane) else redis.call('ZREM', lanes, lane) end
end

-- Counts a span that comes into its lane's queue (`by` is 1) or leaves it (-1).
local function count_span(class, lane, queue, length, by)
  local backlog, ms = k('backlog'), by > 0 and math.floor(length) or 0 - math.floor(length)
  redis.call('HINCRBY', backlog, 'ms:' .. class, ms)
  redis.call('HINCRBY', backlog, 'spans', by)
  if queue == 'first' then
    redis.call('HINCRBY', backlog, 'first:' .. class, ms)
    if length <= 0 then redis.call('HINCRBY', backlog, 'unknown:' .. class, by) end
  end
  total(k('pending'), lane, by)
  total(k('bases'), base_of(lane), by)
end

local function enqueue_first(cid, name, class, lane, tenant, age)
  local base, queue = base_of(lane), k('first', class, lane, tenant)
  redis.call('HINCRBY', k('comp', cid), 'lead', 1)
  redis.call('ZADD', queue, age, name)
  redis.call('ZADD', k('order', class), age, name)
  note_head(k('lanes', class, base, tenant), lane, queue)
  local turn = turn_of(tenant, redis.call('HGET', k('served'), tenant))
  redis.call('ZADD', k('tenants', class, base), num(redis.call('HGET', k('running'), tenant)), turn)
end

local function dequeue_first(cid, name, class, lane, tenant)
  local base, queue = base_of(lane), k('first', class, lane, tenant)
  redis.call('HINCRBY', k('comp', cid), 'lead', -1)
  redis.call('ZREM', queue, name)
  redis.call('ZREM', k('order', class), name)
  note_head(k('lanes', class, base, tenant), lane, queue)
  if redis.call('EXISTS', k('lanes', class, base, tenant)) == 0 then
    redis.call('ZREM', k('tenants', class, base), turn_of(tenant, redis.call('HGET', k('served'), tenant)))
  end
end

local ASIDE = { suspect = 'suspects', solitary = 'solitary', avoided = 'avoided' }

local function enqueue(cid, i, queue)
  local c = redis.call('HMGET', k('comp', cid), 'class', 'lane', 'tenant', 'created', 'lead', 'since')
  local class, lane, tenant, age = c[1], c[2], c[3], num(c[6] or c[4])
  local name, key = cid .. '/' .. i, k('span', cid, i)
  local span = redis.call('HMGET', key, 'start', 'end', 'avoid')
  if queue ~= 'suspect' and queue ~= 'solitary' then
    queue = span[3] and 'avoided' or num(c[5]) == 0 and 'first' or 'extra'
  end
  redis.call('HSET', key, 'state', 'pending', 'place', queue)
  local behind = class == 'batch' and LATER or 0
  if queue == 'first' then
    enqueue_first(cid, name, class, lane, tenant, age)
  elseif queue == 'extra' then
    redis.call('ZADD', k('extra', lane), behind + age, name)
    note_head(k('extras', base_of(lane)), lane, k('extra', lane))
  else
    redis.call('ZADD', k(ASIDE[queue], lane), behind + (queue == 'avoided' and age or now()), name)
    total(k('aside'), ASIDE[queue] .. ':' .. lane, 1)
  end
  count_span(class, lane, queue, num(span[2]) - num(span[1]), 1)
end

local function dequeue(cid, i)
  local c = redis.call('HMGET', k('comp', cid), 'class', 'lane', 'tenant')
  local class, lane, tenant = c[1], c[2], c[3]
  local name = cid .. '/' .. i
  local span = redis.call('HMGET', k('span', cid, i), 'start', 'end', 'state', 'place')
  if span[3] == 'delayed' then
    redis.call('ZREM', k('delayed'), name)
    return
  end
  local queue = span[4]
  if queue == 'first' then
    dequeue_first(cid, name, class, lane, tenant)
  elseif queue == 'extra' then
    redis.call('ZREM', k('extra', lane), name)
    note_head(k('extras', base_of(lane)), lane, k('extra', lane))
  else
    redis.call('ZREM', k(ASIDE[queue], lane), name)
    total(k('aside'), ASIDE[queue] .. ':' .. lane, -1)
  end
  count_span(class, lane, queue, num(span[2]) - num(span[1]), -1)
end

-- When no worker is on a computation, its next span waits among the first ones.
local function promote(cid)
  local c = redis.call('HMGET', k('comp', cid), 'lead', 'spans')
  if num(c[1]) > 0 then return end
  for i = 0, num(c[2]) - 1 do
    local span = redis.call('HMGET', k('span', cid, i), 'state', 'place')
    if span[1] == 'pending' and span[2] == 'extra' then
      dequeue(cid, i)
      enqueue(cid, i)
      return
    end
  end
end

-- Give a computation the place of one of its jobs: its class, its age, and, while no worker has begun, its tenant.
local function take_place(cid, id, job)
  local comp, waiting = k('comp', cid), {}
  local c = redis.call('HMGET', comp, 'spans', 'status')
  for i = 0, num(c[1]) - 1 do
    local span = redis.call('HMGET', k('span', cid, i), 'state', 'place')
    if span[1] == 'pending' then
      waiting[#waiting + 1] = { i, span[2] }
      dequeue(cid, i)
    end
  end
  redis.call('HSET', comp, 'class', job.class, 'since', job.created, 'placed_by', id)
  if c[2] == 'queued' then redis.call('HSET', comp, 'tenant', job.tenant) end
  for _, span in ipairs(waiting) do enqueue(cid, span[1], span[2]) end
end

local function class_of(job)
  local batch = string.find(job.options or '', '"priority":"batch"', 1, true)
  return job.class or (batch and 'batch' or 'interactive')
end

-- A job joins a computation: where its own place would be a better one, both have that. Its class is better, or of its
-- tenant fewer recordings wait than before the computation among those of its own.
local function join_place(cid, id, job)
  local c = redis.call('HMGET', k('comp', cid), 'class', 'tenant', 'lane', 'status')
  if job.class ~= c[1] then
    if job.class == 'interactive' then take_place(cid, id, job) end
    return
  end
  if c[4] ~= 'queued' or c[2] == job.tenant then return end
  local rank = redis.call('ZRANK', k('first', c[1], c[3], c[2]), cid .. '/0')
  local own = redis.call('ZCARD', k('first', c[1], c[3], job.tenant))
  if rank and own < rank then take_place(cid, id, job) end
end

-- The job whose place a computation has leaves: it gets the best one of those that stay.
local function leave_place(cid, id)
  local comp = redis.call('HMGET', k('comp', cid), 'status', 'placed_by')
  if terminal(comp[1]) or (comp[2] or id) ~= id then return end
  local best, best_id
  for _, one in ipairs(redis.call('SMEMBERS', k('comp', cid, 'jobs'))) do
    local job = hash(k('job', one))
    job.class, job.created = class_of(job), num(job.created)
    local sooner = best and (job.class == best.class and job.created < best.created
      or job.class ~= best.class and job.class == 'interactive')
    if job.id and (not best or sooner) then best, best_id = job, one end
  end
  if best then take_place(cid, best_id, best) end
end

local function lines(text)
  local set = {}
  for line in string.gmatch(text, '[^\n]+') do set[line] = true end
  return set
end

-- Whether a worker of these models and traits has all that a lane asks for. No line about the language: any may come,
-- but where speakers are told apart: voices have none.
local function suits(lane, models, has)
  local model, needs = string.match(lane, '^([^\n]*)\n?(.*)$')
  if not models[model] then return false end
  local any = has['language=*']
  local voices = string.sub(model, 1, 9) == 'speakers:'
  if not any and not voices and not string.find(needs, 'language=', 1, true) then return false end
  for need in string.gmatch(needs, '[^\n]+') do
    if not has[need] and not (any and string.sub(need, 1, 9) == 'language=') then return false end
  end
  return true
end

-- ---------------------------------------------------------------- runs

local function add_running(tenant, by)
  local sum = redis.call('HINCRBY', k('running'), tenant, math.floor(by))
  if sum <= 0 then redis.call('HDEL', k('running'), tenant) end
  return sum
end

-- What is left of a span, as long as it runs, is in the backlog's total.
local function note_left(key, runs)
  local span = redis.call('HMGET', key, 'start', 'end', 'done', 'left')
  local start, length, before = num(span[1]), num(span[2]) - num(span[1]), span[4]
  local left = length > 0 and math.max(0, math.floor(length - num(span[3]))) or start > 0 and 0 or -1
  if before then
    redis.call('HINCRBY', k('backlog'), before == '-1' and 'unknown' or 'running', before == '-1' and -1 or 0 - before)
  end
  if not runs then
    redis.call('HDEL', key, 'left')
    return
  end
  redis.call('HINCRBY', k('backlog'), left == -1 and 'unknown' or 'running', left == -1 and 1 or left)
  redis.call('HSET', key, 'left', left)
end

-- A fencing token that no earlier claim had, not even one that a server forgot which lost its last writes: it is the
-- time, in microseconds, or one more than the last token.
local function next_token()
  local t = redis.call('TIME')
  local token = string.format('%.0f', math.max(num(redis.call('GET', k('fence'))) + 1, t[1] * 1000000 + t[2]))
  redis.call('SET', k('fence'), token)
  return token
end

-- Ends a run, whatever comes next. The token in the span's hash is void from here on, because the state has changed.
local function end_run(cid, i, state)
  local name, key = cid .. '/' .. i, k('span', cid, i)
  local span = hash(key)
  redis.call('ZREM', k('leases'), name)
  redis.call('SREM', k('held', span.worker), name)
  if redis.call('GET', k('alone', span.worker)) == name then redis.call('DEL', k('alone', span.worker)) end
  if redis.call('GET', k('suspect', span.worker)) == name then redis.call('DEL', k('suspect', span.worker)) end
  redis.call('HSET', key, 'state', state)
  redis.call('HDEL', key, 'token')
  note_left(key, false)
  local tenant = redis.call('HGET', k('comp', cid), 'tenant')
  local token = redis.call('HGET', k('served'), tenant)
  move_tenant(tenant, token, token, add_running(tenant, 0 - num(span.weight)))
  redis.call('HINCRBY', k('comp', cid), 'lead', -1)
end

-- A suspect that has come past the windows that it may have died at is an ordinary span again, and leaves room for the
-- next suspect. After each crash it has to come further; one that was charged stays a suspect to its end.
local function acquit(cid, i, windows)
  local key = k('span', cid, i)
  local span = redis.call('HMGET', key, 'worker', 'place', 'acquitted_at', 'attempts')
  if span[2] ~= 'suspect' or num(span[4]) > 0 or windows < num(span[3]) then return end
  redis.call('HSET', key, 'place', 'first')
  if redis.call('GET', k('suspect', span[1])) == cid .. '/' .. i then redis.call('DEL', k('suspect', span[1])) end
end

-- 'held', 'lost' (the token is old) or 'unwanted' (nobody waits for the computation any more).
local function lease_state(cid, i, token)
  local status = redis.call('HGET', k('comp', cid), 'status')
  if not status or status == 'canceled' or status == 'failed' then return 'unwanted' end
  local span = redis.call('HMGET', k('span', cid, i), 'state', 'token')
  if span[1] == 'running' and span[2] == token then return 'held' end
  return 'lost'
end

-- ---------------------------------------------------------------- computations

local function forget_dedup(cid, fingerprint)
  if redis.call('GET', k('dedup', fingerprint)) == cid then redis.call('DEL', k('dedup', fingerprint)) end
end

-- Let a job expire when its retention after *at* is over, but not before *least*. A job that asked for no retention of
-- its own has the platform's: a shorter one that was set since holds for it too.
local function expire_after(id, at, least)
  local job = redis.call('HMGET', k('job', id), 'ttl', 'options')
  local ttl_ms, most = num(job[1]), num(redis.call('HGET', k('config'), 'result_ttl'))
  if most > 0 and most < ttl_ms and not string.find(job[2] or '', '"ttl_s":%d') then
    ttl_ms = most
    redis.call('HSET', k('job', id), 'ttl', ttl_ms)
  end
  redis.call('ZADD', k('expiry'), math.max(at + ttl_ms, num(least)), id)
end

-- Somebody who waits for messages to be sent is to look for one.
local function wake_sender()
  local wake = k('outbox', 'wake')
  if redis.call('EXISTS', wake) == 1 then return end
  redis.call('LPUSH', wake, 1)
  redis.call('PEXPIRE', wake, 60000)
end

-- Put a message about a job's end into the outbox, if the job named a webhook.
local function enqueue_webhook(id, status, error_code)
  if redis.call('HEXISTS', k('job', id), 'webhook') == 0 then return end
  local message = 'msg_' .. id .. '_' .. redis.call('HINCRBY', k('job', id), 'messages', 1)
  redis.call('HSET', k('hook', message), 'id', message, 'job', id, 'status', status, 'error', error_code or '',
    'at', now(), 'since', now(), 'attempts', 0, 'tries', 0, 'state', 'pending')
  -- Kept here: the message is the same at every try, also when the result is gone.
  local lacking = {}
  for _, cid in ipairs(status == 'completed' and parts_of_id(id) or {}) do
    lacking[#lacking + 1] = redis.call('HGET', k('comp', cid), 'warnings') or nil
  end
  if #lacking > 0 then redis.call('HSET', k('hook', message), 'warnings', table.concat(lacking, '\n')) end
  redis.call('ZADD', k('outbox'), now(), message)
  wake_sender()
end

local function forget_messages(id)
  for n = 1, num(redis.call('HGET', k('job', id), 'messages')) do
    local message = 'msg_' .. id .. '_' .. n
    redis.call('ZREM', k('outbox'), message)
    redis.call('DEL', k('hook', message))
  end
  redis.call('DEL', k('hooklog', id))
end

-- Deletes a job's row, and what its tenant is charged for it.
local function forget_job(id, tenant)
  local stored = num(redis.call('HGET', k('job', id), 'stored'))
  if stored > 0 and redis.call('HINCRBY', k('stored'), tenant, -stored) <= 0 then
    redis.call('HDEL', k('stored'), tenant)
  end
  forget_messages(id)
  redis.call('DEL', k('job', id))
  redis.call('ZREM', k('jobs', tenant), id)
end

-- What is left of an expired job takes its name and one number: the minute when it expired, and how many seconds after
-- its submission that was.
local LIFETIME = 2 ^ 27

local function bury(id, tenant, created, at)
  local minute = math.floor(at / 60000)
  local lived_s = math.max(0, math.min(LIFETIME - 1, minute * 60 - math.floor(num(created) / 1000)))
  redis.call('ZADD', k('expired', tenant), string.format('%.0f', minute * LIFETIME + lived_s), id)
  note_head(k('expired'), tenant, k('expired', tenant))
end

local function dig_out(id, tenant)
  if redis.call('ZREM', k('expired', tenant), id) == 0 then return false end
  note_head(k('expired'), tenant, k('expired', tenant))
  redis.call('HINCRBY', k('counts'), 'expired', -1)
  return true
end

-- An expired job as a row, or nil: see job_row.lua.
local function tomb(id, tenant)
  local score = redis.call('ZSCORE', k('expired', tenant), id)
  if not score then return nil end
  local minute, lived_s = math.floor(num(score) / LIFETIME), num(score) % LIFETIME
  local job = { 'id', id, 'tenant', tenant, 'comp', '', 'options', '{}', 'filename', '', 'sha', '', 'bytes', 0,
    'duration', 0, 'model', '', 'ttl', 0, 'cached', '0', 'created', (minute * 60 - lived_s) * 1000,
    'expired', minute * 60000 }
  for n, value in ipairs(job) do
    if type(value) == 'number' then job[n] = string.format('%.0f', value) end
  end
  return { job, {}, '', '', {} }
end

local function host_of(url) return string.lower(string.match(url, '^%w+://([^/?#]*)') or '') end

local function gone_key(job) return k('gone', job.tenant, redis.sha1hex(job.webhook)) end

local function log_delivery(id, entry, length)
  redis.call('RPUSH', k('hooklog', id), cjson.encode(entry))
  redis.call('LTRIM', k('hooklog', id), -length, -1)
end

-- Audio goes when no computation needs it any more: its name waits for whoever deletes the bytes.
local function note_if_unneeded(sha)
  if redis.call('EXISTS', k('blob', sha)) == 0 then redis.call('ZADD', k('unneeded'), now(), sha) end
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

local MAX_RESTARTS = 2

-- What was written isn't the whole recording: a transcript with a hole is never given out, the computation begins anew.
local function start_over(cid)
  local comp = k('comp', cid)
  audit('started over', 'comp', cid)
  count('started_over')
  local last = num(redis.call('HGET', comp, 'spans')) - 1
  if redis.call('HINCRBY', comp, 'restarts', 1) > MAX_RESTARTS then
    fail_computation(cid, 'result_incomplete', 'the spans that were written do not cover the recording', 1, 'engine')
    return 'unwanted'
  end
  for i = 0, last do redis.call('DEL', k('span', cid, i), k('segs', cid, i)) end
  redis.call('HSET', comp, 'spans', 1, 'spans_done', 0, 'done', 0)
  redis.call('HDEL', comp, 'closing')
  redis.call('HSET', k('span', cid, 0), 'start', 0, 'end', redis.call('HGET', comp, 'duration'), 'done', 0,
    'windows', 0, 'attempts', 0)
  enqueue(cid, 0)
  return 'held'
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

-- A job whose deadline has passed fails; the computation goes on only for others that wait for it.
local function miss_deadline(id)
  redis.call('ZREM', k('deadlines'), id)
  local job = hash(k('job', id))
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
