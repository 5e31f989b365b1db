-- What watchers, figures and the callers of a result are told.

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
