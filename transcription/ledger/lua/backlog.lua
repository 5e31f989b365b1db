-- Figures over the whole platform. ARGV: ms after which a silent worker counts as gone.
-- Returns names and values in turn: pending_spans, pending_ms, running_spans, running_ms (what is left of these),
-- oldest_ms (or ''), dead, messages (webhooks that aren't delivered), messages_overdue (those that nobody sends),
-- counts, stats, failures, warnings and latencies (hashes), workers {info (JSON), spans held...},
-- waiting {class, recordings, audio ms, oldest age ms or ''...},
-- lanes {lane, workers that suit it, their audio-seconds per second, recordings that wait because none does, spans that
-- wait...}, revisions (a hash).
local SCAN_LIMIT = 50
-- A message whose time has come is taken at once by whoever sends; so much later nobody does.
local OVERDUE_MS = 60000

local gone_ms = num(ARGV[1])
local at, oldest = now(), ''
local backlog = hash(k('backlog'))

-- A recording that was begun and waits for its next span is no older than its neighbours: only those never begun count.
local function oldest_of(class)
  local names = redis.call('ZRANGE', k('order', class), 0, SCAN_LIMIT - 1, 'WITHSCORES')
  for n = 1, #names, 2 do
    local status = redis.call('HGET', k('comp', (split_name(names[n]))), 'status')
    if status == 'queued' then return at - num(names[n + 1]) end
  end
  return ''
end

local waiting = {}
for _, class in ipairs(CLASSES) do
  local age = oldest_of(class)
  if age ~= '' and (oldest == '' or age > oldest) then oldest = age end
  for _, value in ipairs({ class, redis.call('ZCARD', k('order', class)), num(backlog['ms:' .. class]), age }) do
    waiting[#waiting + 1] = value
  end
end
local workers, alive = {}, redis.call('ZRANGEBYSCORE', k('workers'), at - gone_ms, '+inf')
for _, worker in ipairs(alive) do
  workers[#workers + 1] = redis.call('HGET', k('worker', worker), 'info')
  workers[#workers + 1] = redis.call('SCARD', k('held', worker))
end

-- Workers of one kind count together.
local kinds = {}
for _, worker in ipairs(alive) do
  local fields = redis.call('HMGET', k('worker', worker), 'kind', 'rate')
  if fields[1] then -- else an older version's
    local kind = kinds[fields[1]] or { count = 0, rate = 0 }
    kinds[fields[1]] = { count = kind.count + 1, rate = kind.rate + num(fields[2]) }
  end
end
for name, kind in pairs(kinds) do
  local models, traits = string.match(name, '^(.*)\n\n(.*)$')
  kind.models, kind.has = lines(models), lines(traits)
end

local lanes, pending = {}, hash(k('pending'))
for lane, waits in pairs(pending) do
  local count, rate = 0, 0
  for _, kind in pairs(kinds) do
    if suits(lane, kind.models, kind.has) then count, rate = count + kind.count, rate + kind.rate end
  end
  local unserved = count == 0 and num(waits) - redis.call('ZCARD', k('extra', lane)) or 0
  for _, value in ipairs({ lane, count, tostring(rate), unserved, num(waits) }) do lanes[#lanes + 1] = value end
end
local memory = redis.call('INFO', 'memory')
local stored = redis.call('INFO', 'persistence')
return {
  'used_bytes', num(string.match(memory, 'used_memory:(%d+)')),
  'max_bytes', num(string.match(memory, 'maxmemory:(%d+)')),
  'writable', string.find(stored, 'aof_last_write_status:err', 1, true) and 0 or 1,
  'pending_spans', num(backlog.spans),
  'pending_ms', num(backlog['ms:interactive']) + num(backlog['ms:batch']),
  'running_spans', redis.call('ZCARD', k('leases')),
  'running_ms', num(backlog.running),
  'oldest_ms', oldest,
  'dead', redis.call('ZCARD', k('dead')),
  'messages', redis.call('ZCARD', k('outbox')),
  'messages_overdue', redis.call('ZCOUNT', k('outbox'), '-inf', at - OVERDUE_MS),
  'counts', redis.call('HGETALL', k('counts')),
  'stats', redis.call('HGETALL', k('stats')),
  'failures', redis.call('HGETALL', k('failures')),
  'warnings', redis.call('HGETALL', k('warnings')),
  'latencies', redis.call('HGETALL', k('latencies')),
  'workers', workers,
  'waiting', waiting,
  'lanes', lanes,
  'revisions', redis.call('HGETALL', k('revisions')),
}
