-- Hand a span back as if it had never been claimed. ARGV: computation, index, token. Returns the state of the lease.
local cid, i, token = unpack(ARGV)
local found = lease_state(cid, i, token)
if found ~= 'held' then return found end
local queue = redis.call('HGET', k('span', cid, i), 'place')
end_run(cid, i, 'stopped')
count('released')
audit('released', 'comp', cid, 'span', i, 'token', token)
enqueue(cid, i, queue)
promote(cid)
return found
