-- Computations that finished a while ago, or are long, whose texts are still in the ledger. ARGV: ms that a short one
-- stays, names at most. Returns names.
return redis.call('ZRANGEBYSCORE', k('finished'), '-inf', now() - num(ARGV[1]), 'LIMIT', 0, num(ARGV[2]))
