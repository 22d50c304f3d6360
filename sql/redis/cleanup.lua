-- Removes abandoned rows, and what is left of forgotten messages, up to a limit of each. A message goes by itself when
-- its retention is over; it is counted where it is still there, as on a server that has not got to it. How many
-- were found, those that were gone included, is told as well.
local abandonedAfter, mostRows, mostMessages = nextValue(), nextValue(), nextValue()

local function removeAbandoned()
  local removed = 0
  local latest = string.format('%.0f', now - abandonedAfter)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'held', '-inf', latest, 'LIMIT', 0, mostRows)) do
    redis.call('ZREM', prefix .. 'held', key)
    removed = removed + redis.call('DEL', prefix .. 's:' .. key)
  end
  return removed
end

local function removeForgotten(class, retentionMs, most)
  local latest = string.format('%.0f', now - retentionMs * 1000)
  local keys = redis.call('ZRANGEBYSCORE', prefix .. class, '-inf', latest, 'LIMIT', 0, most)
  local removed = 0
  for _, key in ipairs(keys) do
    redis.call('ZREM', prefix .. class, key)
    local message = messageAt(key)
    -- It may have happened again since, and be remembered under another class.
    if message and message[M_FINISHED_AT] + message[M_RETENTION_MS] * 1000 <= now then
      removed = removed + redis.call('DEL', prefix .. 'm:' .. key)
    end
  end
  if redis.call('EXISTS', prefix .. class) == 0 then
    redis.call('SREM', prefix .. 'classes', class)
  end
  return #keys, removed
end

local sessions, messages, seen = removeAbandoned(), 0, 0
for _, class in ipairs(redis.call('SMEMBERS', prefix .. 'classes')) do
  local retentionMs = tonumber(string.match(class, ':(%d+)$'))
  local found, removed = removeForgotten(class, retentionMs, mostMessages - seen)
  seen, messages = seen + found, messages + removed
  if seen >= mostMessages then
    break
  end
end
return { messages, sessions, seen }
