-- How many messages are remembered: status and number in turn.
local counts = {}
for _, class in ipairs(redis.call('SMEMBERS', prefix .. 'classes')) do
  local status, retentionMs = string.match(class, '^(%a+):(%d+)$')
  local since = string.format('(%.0f', now - tonumber(retentionMs) * 1000)
  table.insert(counts, status)
  table.insert(counts, redis.call('ZCOUNT', prefix .. class, since, '+inf'))
end
return counts
