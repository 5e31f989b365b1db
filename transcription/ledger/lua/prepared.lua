-- A recording has been decoded and cut. The caller goes on with span 0; the others become pending.
-- ARGV: computation, token, language, probability, warnings (a line each: code, JSON), tracks (JSON), the channel that
-- has the same sound ('': none), then start, end and speech (JSON) of each span.
-- Returns the state of the lease.
local cid, token, language, probability, warnings, tracks, same_as = unpack(ARGV, 1, 7)
local found = lease_state(cid, 0, token)
if found ~= 'held' then return found end
local key = k('comp', cid)
if redis.call('HGET', k('span', cid, 0), 'speech') then return found end
local spans = (#ARGV - 7) / 3
settle_quota(cid, num(ARGV[#ARGV - 1]))
redis.call('HSET', key, 'spans', spans, 'duration', ARGV[#ARGV - 1], 'known', 1, 'language', language,
  'language_probability', probability, 'tracks', tracks)
if same_as ~= '' then redis.call('HSET', key, 'same_as', same_as) end
for i = 0, spans - 1 do
  local a = 8 + 3 * i
  redis.call('HSET', k('span', cid, i), 'start', ARGV[a], 'end', ARGV[a + 1], 'speech', ARGV[a + 2])
  if i > 0 then
    redis.call('HSET', k('span', cid, i), 'done', 0, 'windows', 0, 'attempts', 0)
    enqueue(cid, i)
  end
end
note_left(k('span', cid, 0), true)
add_warnings(cid, warnings)
audit('prepared', 'comp', cid, 'spans', spans, 'token', token)
publish_progress(cid, 'progress')
return found
