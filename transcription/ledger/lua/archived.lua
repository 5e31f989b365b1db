-- A finished computation's texts are in the result store: they leave the ledger, with all that only work needs.
-- ARGV: computation. Returns 1, or 0 when it has gone meanwhile: then what was stored is to be deleted.
local cid = ARGV[1]
local key = k('comp', cid)
redis.call('ZREM', k('finished'), cid)
if redis.call('HGET', key, 'status') ~= 'completed' then return 0 end
for i = 0, num(redis.call('HGET', key, 'spans')) - 1 do redis.call('DEL', k('span', cid, i), k('segs', cid, i)) end
redis.call('DEL', k('events', cid))
-- What a job's answer is made of stays, and what finds the computation.
local kept = { 'status', 'fingerprint', 'started', 'completed', 'duration', 'language', 'attempts', 'compute_ms',
  'warnings', 'kind', 'same_as' }
local values = redis.call('HMGET', key, unpack(kept))
local tracks, sha = redis.call('HGET', key, 'tracks'), redis.call('HGET', key, 'sha')
local holders = redis.call('SCARD', k('comp', cid, 'jobs'))
redis.call('DEL', key, k('comp', cid, 'jobs'))
for n, field in ipairs(kept) do
  if values[n] then redis.call('HSET', key, field, values[n]) end
end
if tracks and tracks ~= '[]' then redis.call('HSET', key, 'tracks', tracks) end
-- Whose recording is kept as long as the result.
if redis.call('SISMEMBER', k('blob', sha), cid) == 1 then redis.call('HSET', key, 'sha', sha) end
redis.call('HSET', key, 'archived', holders)
audit('archived', 'comp', cid)
return 1
