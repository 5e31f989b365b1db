-- A heartbeat. The first one of a new process brings back what an earlier process of the same name held.
-- ARGV: worker, incarnation, info (JSON), max attempts, kind (models and traits), audio-seconds per second, host,
-- whether this process was known before (0 or 1), ms after which a silent worker counts as gone, revisions (a line for
-- each model whose weights it knows: model, tab, revision; what is new of these holds for jobs from now on), whether a
-- living process of this host has the name (0 or 1).
-- Returns how many spans came back; 'taken' while another worker of that name lives, 'replaced' for a process whose
-- place another one has by now.
local worker, incarnation, info, max_attempts, kind, rate, host = unpack(ARGV)
local known, gone_ms, revisions, twin = ARGV[8] == '1', num(ARGV[9]), ARGV[10] or '', ARGV[11] == '1'
local key = k('worker', worker)
local back = 0
local before = redis.call('HGET', key, 'incarnation')
if before and before ~= incarnation then
  if known then return 'replaced' end
  local silent = now() - num(redis.call('ZSCORE', k('workers'), worker))
  local elsewhere = (redis.call('HGET', key, 'host') or host) ~= host
  if (elsewhere or twin) and silent < gone_ms then return 'taken' end
end
if before ~= incarnation then back = process_died(worker, num(max_attempts)) end
if before ~= incarnation or redis.call('HGET', key, 'revisions') ~= revisions then
  for model, revision in string.gmatch(revisions, '([^\t\n]+)\t([^\n]*)') do
    redis.call('HSET', k('revisions'), model, revision)
  end
  redis.call('HSET', key, 'revisions', revisions)
end
redis.call('HSET', key, 'incarnation', incarnation, 'info', info, 'kind', kind, 'rate', rate, 'host', host)
redis.call('ZADD', k('workers'), now(), worker)
return back
