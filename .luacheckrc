-- The ledger's scripts run behind what lies in shared/ and schema.lua: what those define is known to all of them.
std = "lua51"
max_line_length = 120
read_globals = { "redis", "cjson", "KEYS", "ARGV", "AUDIT", "DEAD_MS", "BOUNDS_S", "KEEP_AUDIO" }
local shared = { "keys", "events", "jobs", "queues", "runs", "webhooks", "retention", "computations", "completeness",
  "losses" }
for _, part in ipairs(shared) do
  for line in io.lines("transcription/ledger/lua/shared/" .. part .. ".lua") do
    local name = line:match("^local function ([%w_]+)") or line:match("^local ([%w_]+)")
    if name then read_globals[#read_globals + 1] = name end
  end
end
read_globals[#read_globals + 1] = "job_row"
files["transcription/ledger/lua/job_row.lua"] = { ignore = { "211" } }
files["transcription/ledger/lua/shared"] = { ignore = { "211", "431" } }
