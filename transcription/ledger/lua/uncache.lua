-- Other weights compute a computation than its fingerprint speaks of: no further job may join it or get its result.
-- ARGV: computation. Returns 1.
local cid = ARGV[1]
forget_dedup(cid, redis.call('HGET', k('comp', cid), 'fingerprint') or '')
audit('kept from cache', 'comp', cid)
return 1
