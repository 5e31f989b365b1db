-- What was heard in the spans of a diarization. ARGV: computation.
-- Returns for each span that holds sound {its speech (JSON), {its windows}}.
local cid, out = ARGV[1], {}
for i = 0, num(redis.call('HGET', k('comp', cid), 'spans')) - 1 do
  local span = redis.call('HMGET', k('span', cid, i), 'start', 'end', 'speech')
  if num(span[2]) > num(span[1]) or i == 0 then
    out[#out + 1] = { span[3] or '[]', redis.call('LRANGE', k('segs', cid, i), 0, -1) }
  end
end
return out
