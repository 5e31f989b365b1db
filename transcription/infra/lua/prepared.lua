-- A recording has been decoded and cut. The caller goes on with span 0; the others become pending.
-- ARGV: computation, token, language, probability, then start and end of each span. Returns the standing.
local cid, token = ARGV[1], ARGV[2]
local found = standing(cid, 0, token)
if found ~= 'held' then return found end
local key = k('comp', cid)
if redis.call('HGET', key, 'prepared') then return found end
local spans = (#ARGV - 4) / 2
redis.call('HSET', key, 'prepared', 1, 'spans', spans, 'duration', ARGV[#ARGV], 'language', ARGV[3],
  'language_probability', ARGV[4])
redis.call('HSET', k('span', cid, 0), 'start', ARGV[5], 'end', ARGV[6])
for i = 1, spans - 1 do
  redis.call('HSET', k('span', cid, i), 'start', ARGV[5 + 2 * i], 'end', ARGV[6 + 2 * i], 'done', 0, 'windows', 0,
    'attempts', 0)
  enqueue(cid, i)
end
audit('prepared', 'comp', cid, 'spans', spans, 'token', token)
tell(cid, 'status', 'status', 'processing')
return found
