-- A job that was on its way isn't recorded: what it brought is to be deleted, unless another needs it.
-- ARGV: job, SHA-256s.
for n = 2, #ARGV do withdraw_audio(ARGV[n], ARGV[1]) end
return 1
