-- The ledger: what is true of every job. Each change of state is one script, which the server runs in one atomic step:
-- first the files of this folder in the order that scripts.py names, then schema.lua, then the script itself.
--
-- KEYS[1] is the prefix of all keys. scripts.py puts constants in front: AUDIT, the length of the audit stream,
-- BOUNDS_S, the upper bounds of the histograms, DEAD_MS, how long dead letters are kept, and KEEP_AUDIO, whether audio
-- stays as long as its result. Times are milliseconds of the server's clock, lengths are milliseconds of audio. A
-- span's name is `C/I`. A script's first lines name its arguments.
--
-- Keys, where ID is a job, T a tenant, C a computation, I the index of a span in it, L a lane (see lanes.py), B a base
-- (a lane without its language), W a worker, M a message, F a fingerprint, S a SHA-256, CLASS `interactive` or `batch`:
--
--   coming:S          zset    jobs for a recording that are on their way, by when they are given up
--   deleting:S        string  a recording whose bytes are being deleted now
--   stored            hash    tenant -> bytes of the ledger that its jobs' requests take
--   job:ID            hash    a job: tenant, comp, audio, ttl, stored; where it isn't what it mostly is, `options` ({})
--                             and `cached` (0); `canceled` or `expired`: when that was;
--                             `channels`: where each channel is transcribed by itself, the computations of those after
--                             the first, with spaces between;
--                             `speakers`: the diarization that it waits for as well; `references`: those of the
--                             samples of known speakers' voices, with spaces between, and `samples`: these' audio;
--                             `names`: what its speakers are called (JSON)
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
--   schema_held       string  a release that changes the layout waits for it to go, see schema_step.py
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

local function hash_of(flat)
  local out = {}
  for i = 1, #flat, 2 do out[flat[i]] = flat[i + 1] end
  return out
end

local function hash(key) return hash_of(redis.call('HGETALL', key)) end

-- A job's hash, as it is answered with; it says its id, which is kept in the key's name alone. Empty for no job.
local function flat_job(id)
  local flat = redis.call('HGETALL', k('job', id))
  if #flat > 0 then
    flat[#flat + 1] = 'id'
    flat[#flat + 1] = id
  end
  return flat
end

local function job_hash(id) return hash_of(flat_job(id)) end

local function audit(what, ...)
  if AUDIT > 0 then redis.call('XADD', k('audit'), 'MAXLEN', '~', AUDIT, '*', 'what', what, ...) end
end

local function count(name, by) redis.call('HINCRBY', k('stats'), name, by or 1) end
