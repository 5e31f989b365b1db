-- Messages to clients' webhooks.

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

local function host_of(url) return string.lower(string.match(url, '^%w+://([^/?#]*)') or '') end

local function gone_key(job) return k('gone', job.tenant, redis.sha1hex(job.webhook)) end

local function log_delivery(id, entry, length)
  redis.call('RPUSH', k('hooklog', id), cjson.encode(entry))
  redis.call('LTRIM', k('hooklog', id), -length, -1)
end
