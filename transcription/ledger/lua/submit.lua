-- Accept a job: find the computation that it can join, or start one.
-- ARGV: request (JSON), options (JSON), decoding (JSON).
-- Returns {outcome, the job's row (see job_row.lua)}, or {'full', jobs that the tenant has, bytes of them}.
local request, options, decoding = ARGV[1], ARGV[2], ARGV[3]
local r = cjson.decode(request)
local at = now()
local references = r.references or {}

-- What came with the request has arrived, and may be needed by nobody: its answer was there already.
local function audio_arrived()
  withdraw_audio(r.sha, r.id)
  for _, part in ipairs(references) do withdraw_audio(part.sha, r.id) end
end

if r.idempotency_key then
  local key = k('idem', r.tenant, r.idempotency_key)
  local seen = redis.call('HMGET', key, 'job', 'payload')
  local before = seen[1] and redis.call('EXISTS', k('job', seen[1])) == 1 and job_row(seen[1], true)
  before = before or seen[1] and tomb(seen[1], r.tenant)
  if before then
    audio_arrived()
    return { seen[2] == r.payload and 'repeated' or 'conflict', before }
  end
end

-- What a tenant can fill the ledger with has a limit, whatever becomes of its jobs.
local stored = #request + #options + #decoding
local jobs = redis.call('ZCARD', k('jobs', r.tenant))
local bytes = num(redis.call('HGET', k('stored'), r.tenant))
if (r.max_jobs > 0 and jobs >= r.max_jobs) or (r.max_bytes > 0 and bytes + stored > r.max_bytes) then
  return { 'full', jobs, bytes }
end
if r.idempotency_key then
  local key = k('idem', r.tenant, r.idempotency_key)
  redis.call('HSET', key, 'job', r.id, 'payload', r.payload)
  redis.call('PEXPIRE', key, 86400000)
end

local charged = r.charged
local function start(part, cid)
  redis.call('HSET', k('comp', cid), 'id', cid, 'status', 'queued', 'fingerprint', part.fingerprint,
    'sha', part.sha, 'filename', part.filename, 'model', part.model, 'lane', part.lane, 'decoding', part.decoding,
    'class', r.class,
    'tenant', r.tenant, 'created', at, 'since', at, 'placed_by', r.id, 'duration', part.duration, 'spans', 1,
    'spans_done', 0, 'done', 0, 'lead', 0, 'attempts', 0, 'request', r.request, 'trace', r.trace)
  if part.revision then redis.call('HSET', k('comp', cid), 'revision', part.revision) end
  if part.kind then redis.call('HSET', k('comp', cid), 'kind', part.kind) end
  if charged then -- once, however many computations a job begins
    local day = k('used', r.tenant, math.floor(at / 86400000))
    redis.call('HSET', k('comp', cid), 'charged', charged, 'charged_to', day)
    charged = false
  end
  redis.call('HSET', k('span', cid, 0), 'start', 0, 'end', part.duration, 'done', 0, 'windows', 0, 'attempts', 0)
  redis.call('SET', k('dedup', part.fingerprint), cid)
  redis.call('SADD', k('blob', part.sha), cid)
  enqueue(cid, 0)
  publish_event(cid, 'status', 'status', 'queued')
end

-- What a job waits for: a computation that is there, or a new one. Returns it, its status and what the job met.
local function join(part)
  local cid = redis.call('GET', k('dedup', part.fingerprint))
  local status = status_of(cid)
  if status == 'completed' and not r.cache then status = nil end
  if not status then return part.computation, 'queued', 'new' end
  return cid, status, status == 'completed' and 'cached' or 'joined'
end

local parts = { { computation = r.computation, fingerprint = r.fingerprint, lane = r.lane, model = r.model,
  decoding = decoding, revision = r.revision } }
for _, channel in ipairs(r.channels or {}) do
  channel.revision = r.revision
  parts[#parts + 1] = channel
end
if r.speakers then parts[#parts + 1] = r.speakers end
for n = 1, #parts do parts[n].sha, parts[n].filename, parts[n].duration = r.sha, r.filename, r.duration end
for _, part in ipairs(references) do parts[#parts + 1] = part end
local outcome, status = 'cached', nil
for _, part in ipairs(parts) do
  local found, met
  part.cid, found, met = join(part)
  part.met = met
  status = combined(found, status)
  if met == 'new' or (met == 'joined' and outcome == 'cached') then outcome = met end
end
local cid = parts[1].cid

redis.call('HSET', k('job', r.id), 'tenant', r.tenant, 'comp', cid, 'created', at,
  'filename', r.filename, 'sha', r.sha, 'bytes', r.bytes, 'duration', r.duration, 'model', r.model, 'ttl', r.ttl,
  'stored', stored)
-- What is so with most jobs isn't written.
if options ~= '{}' then redis.call('HSET', k('job', r.id), 'options', options) end
if outcome == 'cached' then redis.call('HSET', k('job', r.id), 'cached', 1) end
if r.speakers then redis.call('HSET', k('job', r.id), 'speakers', r.speakers.cid) end
if r.channels then
  local cids = {}
  for n, part in ipairs(r.channels) do cids[n] = part.cid end
  redis.call('HSET', k('job', r.id), 'channels', table.concat(cids, ' '))
end
if #references > 0 then
  local cids, shas = {}, {}
  for n, part in ipairs(references) do cids[n], shas[n] = part.cid, part.sha end
  redis.call('HSET', k('job', r.id), 'references', table.concat(cids, ' '), 'samples', table.concat(shas, ' '))
end
redis.call('HINCRBY', k('stored'), r.tenant, stored)
if r.webhook then redis.call('HSET', k('job', r.id), 'webhook', r.webhook) end
redis.call('ZADD', k('jobs', r.tenant), at, r.id)
redis.call('HINCRBY', k('counts'), status, 1)
if not terminal(status) then redis.call('ZADD', k('deadlines'), at + r.deadline, r.id) end
count('submitted')
count(outcome)

local held = {}
for _, part in ipairs(parts) do
  if not held[part.cid] then hold_computation(part.cid, r.id) end
  held[part.cid] = true
  if part.met == 'new' then start(part, part.cid) end
  if part.met == 'joined' then join_place(part.cid, r.id, { class = r.class, tenant = r.tenant, created = at }) end
end
audio_arrived()
if outcome == 'cached' then
  expire_after(r.id, at)
  enqueue_webhook(r.id, 'completed')
end
audit('accepted', 'job', r.id, 'comp', cid, 'outcome', outcome)
return { outcome, job_row(r.id, true) }
