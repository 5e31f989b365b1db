-- Hand a span back as if it had never been claimed. ARGV: computation, index, token. Returns the standing.
local cid, i, token = ARGV[1], ARGV[2], ARGV[3]
local found = standing(cid, i, token)
if found ~= 'held' then return found end
local place = redis.call('HGET', k('span', cid, i), 'place')
end_run(cid, i, 'stopped')
count('released')
audit('released', 'comp', cid, 'span', i, 'token', token)
enqueue(cid, i, place)
promote(cid)
return found
