-- Stands before every other script. Nobody runs these by hand: they are read, sent and run as they are.
--
-- Keys, all with the table prefix (session_lock_ unless another is chosen):
--   …version            which layout this is
--   …s:<row key>        a row that is held now
--   …m:<message key>    a message that has happened; gone by itself when its retention is over
--   …held               sorted set of row keys by expiry
--   …classes            set of the names of the sorted sets below
--   …<status>:<ms>      sorted set of message keys by the end of their handling, of those of one status that are
--                       remembered for so long: within one of these, who ended first is also forgotten first
--   …token              the largest token given that is ahead of this server's clock; gone when the clock is past it
--   …released           no key but a channel: keys of rows that somebody waited for, when they are free
--
-- On a cluster there are 64 of all these but the first, …{0} to …{63}: a row is in the one that its key says
-- (its CRC-32, modulo 64), a message in that of its home. So what one script touches lies in one slot. Two keys
-- that never exist are declared (…absent1, …absent2): while the slot moves, the server that gives it then sends
-- us on before anything is done, and the one that gets it bids us wait; no script sees half of what there is.
--
-- A message takes about 540 bytes, measured with ids and numbers as WhatsApp has them and no response.
--
-- A value is one packed list; an absent text is false. Times are microseconds since 1970 by this server's clock.
local prefix = ARGV[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local OWNER, NODE, PROSPECT, DEVICE, MESSAGES = 1, 2, 3, 4, 5
local TOKEN, LOCKED_AT, RENEWED_AT, EXPIRES_AT, CONTENDED, ATTEMPT = 6, 7, 8, 9, 10, 11
local M_STATUS, M_PROVIDER, M_DEVICE, M_ID, M_SESSION, M_OWNER, M_NODE = 1, 2, 3, 4, 5, 6, 7
local M_TOKEN, M_ATTEMPTS, M_ERROR, M_RESPONSE, M_FINISHED_AT, M_RETENTION_MS = 8, 9, 10, 11, 12, 13

-- Far beyond any lease: with the row its last token would be forgotten, which a takeover has to exceed.
local ROW_TTL_MS = 7 * 24 * 3600 * 1000

-- What is asked comes as one JSON list, which costs both sides less than an argument for each value. It is read one
-- value after the other; an absent text is false.
local asked = cjson.decode(ARGV[2])
local at = 0
local function nextValue()
  at = at + 1
  local value = asked[at]
  return value ~= cjson.null and value
end
-- Bytes are no JSON: each is an argument of its own behind the list, which has its number.
local function nextBytes()
  local number = nextValue()
  return number and ARGV[2 + number]
end

local function rowAt(key)
  local packed = redis.call('GET', prefix .. 's:' .. key)
  return packed and cmsgpack.unpack(packed)
end

local function putRow(key, row)
  local ttl = math.max(ROW_TTL_MS, math.ceil((row[EXPIRES_AT] - now) / 1000) * 10)
  redis.call('SET', prefix .. 's:' .. key, cmsgpack.pack(row), 'PX', string.format('%.0f', ttl))
  redis.call('ZADD', prefix .. 'held', string.format('%.0f', row[EXPIRES_AT]), key)
end

-- Who waits is told, if that is allowed; who is not told asks again anyway.
local function tellWaiting(key, row)
  if row[CONTENDED] then
    redis.pcall('PUBLISH', prefix .. 'released', key)
  end
end

-- The last token of a row is forgotten with it, and the next has to exceed it: the clock sees to that, unless the
-- token came from ahead of it (from another master's clock, or by way of a bot that has seen a larger one).
local function keepToken(token)
  if token > now and token > tonumber(redis.call('GET', prefix .. 'token') or 0) then
    local ttl = string.format('%.0f', math.ceil((token - now) / 1000) + 1000)
    redis.call('SET', prefix .. 'token', string.format('%.0f', token), 'PX', ttl)
  end
end

local function removeRow(key, row)
  redis.call('DEL', prefix .. 's:' .. key)
  redis.call('ZREM', prefix .. 'held', key)
  tellWaiting(key, row)
end

local function messageAt(key)
  local packed = redis.call('GET', prefix .. 'm:' .. key)
  return packed and cmsgpack.unpack(packed)
end

local function isHandled(message)
  local status = message[M_STATUS]
  return (status == 'completed' or status == 'dead') and message[M_FINISHED_AT] + message[M_RETENTION_MS] * 1000 > now
end

local function className(status, retentionMs)
  return status .. ':' .. string.format('%.0f', retentionMs)
end
