-- Settlements, one after the other: a lease's rows go and its messages are written, or nothing happens.

-- For each message written, up to this many forgotten ones leave their sorted set, so that it stays bounded.
local DROPPED_PER_MESSAGE = 2

local function readSettlement()
  local settlement = { owner = nextValue(), node = nextValue(), outcome = nextValue() }
  settlement.session = nextValue()
  settlement.error = nextValue()
  settlement.response = nextBytes()
  settlement.rows, settlement.messages = {}, {}
  for r = 1, nextValue() do
    settlement.rows[r] = { key = nextValue(), token = nextValue() }
  end
  for m = 1, nextValue() do
    settlement.messages[m] = {
      key = nextValue(), provider = nextValue(), device = nextValue(), id = nextValue(), retentionMs = nextValue(),
    }
  end
  return settlement
end

local function isHeld(settlement)
  for _, held in ipairs(settlement.rows) do
    held.found = rowAt(held.key)
    if not (held.found and held.found[OWNER] == settlement.owner and held.found[TOKEN] == held.token) then
      return false
    end
  end
  return true
end

local function tokenOf(settlement)
  return settlement.rows[1] and settlement.rows[1].token or false
end

-- Only this lease's own settlement puts its owner and token on a message, so one such message tells.
local function isSettledAlready(settlement)
  if settlement.outcome == 'released' then
    return false
  end
  for _, message in ipairs(settlement.messages) do
    local found = messageAt(message.key)
    if found and found[M_OWNER] == settlement.owner and found[M_TOKEN] == tokenOf(settlement) then
      return true
    end
  end
  return false
end

-- Once for the whole batch: which classes were written to, and how often.
local classes = {}

local function noteClass(class, retentionMs)
  local noted = classes[class] or { retentionMs = retentionMs, messages = 0 }
  noted.messages = noted.messages + 1
  classes[class] = noted
end

local function keepClasses()
  for class, noted in pairs(classes) do
    redis.call('SADD', prefix .. 'classes', class)
    local latest = string.format('%.0f', now - noted.retentionMs * 1000)
    local most = noted.messages * DROPPED_PER_MESSAGE
    for _, key in ipairs(redis.call('ZRANGEBYSCORE', prefix .. class, '-inf', latest, 'LIMIT', 0, most)) do
      redis.call('ZREM', prefix .. class, key)
    end
  end
end

local function writeMessage(settlement, message)
  local before = messageAt(message.key)
  -- Under two sessions, somebody else may have completed it meanwhile; a failure takes nothing of that back.
  if settlement.outcome == 'failed' and before and isHandled(before) then
    return
  end
  local class = className(settlement.outcome, message.retentionMs)
  local session = settlement.session ~= message.key and settlement.session
  redis.call('SET', prefix .. 'm:' .. message.key, cmsgpack.pack({
    settlement.outcome, message.provider, message.device, message.id, session, settlement.owner, settlement.node,
    tokenOf(settlement), (before and before[M_ATTEMPTS] or 0) + 1, settlement.error, settlement.response,
    now, message.retentionMs,
  }), 'PX', string.format('%.0f', message.retentionMs))
  if before then
    redis.call('ZREM', prefix .. className(before[M_STATUS], before[M_RETENTION_MS]), message.key)
  end
  redis.call('ZADD', prefix .. class, string.format('%.0f', now), message.key)
  noteClass(class, message.retentionMs)
end

-- The rows go first: where the memory is full, that is what still may be written, and what makes room.
-- The answer: 0 for a lost one, 1 for a settled one, 2 for one that somebody else waits for.
local function settle(settlement)
  if not isHeld(settlement) then
    return isSettledAlready(settlement) and 1 or 0
  end
  local answer = 1
  for _, held in ipairs(settlement.rows) do
    removeRow(held.key, held.found)
    answer = held.found[CONTENDED] and 2 or answer
  end
  if settlement.outcome ~= 'released' then
    for _, message in ipairs(settlement.messages) do
      writeMessage(settlement, message)
    end
  end
  return answer
end

local answers = {}
for s = 1, nextValue() do
  answers[s] = settle(readSettlement())
end
keepClasses()
return answers
