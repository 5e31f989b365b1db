-- Say that a job for a recording is on its way, before its bytes are kept: until then nobody deletes them.
-- ARGV: SHA-256, job, ms for which it may be on its way. Returns 1, or 0 while the bytes are being deleted.
local sha, id, patience_ms = ARGV[1], ARGV[2], num(ARGV[3])
if redis.call('EXISTS', k('deleting', sha)) == 1 then return 0 end
redis.call('ZADD', k('coming', sha), now() + patience_ms, id)
redis.call('PEXPIRE', k('coming', sha), patience_ms)
return 1
