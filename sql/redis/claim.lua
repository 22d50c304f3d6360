-- A batch of claims, one after the other. The decision is that of src/store/decide.ts.
-- Of a claim that needs several servers each is asked for its own rows and messages.

-- Above the clock where tokens were given that are ahead of it.
local leastToken = math.max(now, tonumber(redis.call('GET', prefix .. 'token') or 0) + 1)

local function readClaim()
  local claim = { owner = nextValue(), node = nextValue() }
  -- 0: what is free; 1: all or nothing; 2: nothing any more, for it was refused elsewhere.
  local whole = nextValue()
  claim.whole, claim.isRefused = whole > 0, whole == 2
  -- Which try of its process it is, where it needs several servers; else 0.
  claim.attempt = nextValue()
  claim.staleAfter = nextValue()
  claim.tokenAbove = nextValue()
  claim.parts = {}
  for p = 1, nextValue() do
    local part = { rows = {}, messages = {}, elsewhere = {} }
    for r = 1, nextValue() do
      local row = { key = nextValue(), prospect = nextValue(), device = nextValue() }
      row.found = rowAt(row.key)
      part.rows[r] = row
    end
    for m = 1, nextValue() do
      part.messages[m] = nextValue()
    end
    for m = 1, nextValue() do
      part.elsewhere[m] = nextValue()
    end
    claim.parts[p] = part
  end
  return claim
end

-- Looks after the rows are had; in a script nobody comes between.
local function lookAtMessages(part)
  part.completed, part.inHand = {}, {}
  for _, key in ipairs(part.messages) do
    local message = messageAt(key)
    if message and isHandled(message) then
      table.insert(part.completed, key)
      table.insert(part.completed, message[M_RESPONSE])
    else
      table.insert(part.inHand, key)
    end
  end
  for _, key in ipairs(part.elsewhere) do
    table.insert(part.inHand, key)
  end
end

local function describeHolder(row)
  return { row[OWNER], row[NODE], math.max(0, now - row[LOCKED_AT]), math.max(0, now - row[RENEWED_AT]), row[MESSAGES] }
end

-- One token for all rows; a repeat finds its own rows, and keeps the token they carry.
local function tokenFor(claim, part)
  local token, own = math.max(claim.tokenAbove + 1, leastToken), nil
  local isRepeat = true
  for _, row in ipairs(part.rows) do
    local found = row.found
    if found then
      token = math.max(token, found[TOKEN] + 1)
    end
    isRepeat = isRepeat and found and found[OWNER] == claim.owner and (own == nil or own == found[TOKEN])
    own = found and found[TOKEN]
  end
  return isRepeat and own or token
end

local function decide(claim, part)
  lookAtMessages(part)
  if #part.messages > 0 and #part.inHand == 0 then
    part.outcome = 'completed'
    return
  end
  part.takeover = false
  for _, row in ipairs(part.rows) do
    local found = row.found
    if found and found[OWNER] ~= claim.owner then
      if found[EXPIRES_AT] > now then
        part.outcome, part.holder, part.remaining = 'held', found, found[EXPIRES_AT] - now
        return
      end
      part.takeover = found
    end
  end
  part.outcome = 'acquired'
  part.token = tokenFor(claim, part)
end

local function take(claim, part)
  keepToken(part.token)
  for _, row in ipairs(part.rows) do
    local found = row.found
    local own = found and found[OWNER] == claim.owner
    putRow(row.key, {
      claim.owner, claim.node, row.prospect, row.device, part.inHand,
      part.token, now, now, now + claim.staleAfter, own and found[CONTENDED] or false,
      math.max(claim.attempt, own and found[ATTEMPT] or 0),
    })
  end
end

-- A repeated claim can find rows of its own first try, and not get the part this time. But a try that arrives late
-- finds those of a later one, which may have got everything, and leaves them alone.
local function giveBack(claim, part)
  for _, row in ipairs(part.rows) do
    local found = row.found
    local own = found and found[OWNER] == claim.owner
    if own and (claim.attempt == 0 or (found[ATTEMPT] or 0) <= claim.attempt) then
      removeRow(row.key, found)
    end
  end
end

local function markContended(claim, part)
  for _, row in ipairs(part.rows) do
    local found = row.found
    if found and found[OWNER] ~= claim.owner and found[EXPIRES_AT] > now and not found[CONTENDED] then
      found[CONTENDED] = true
      putRow(row.key, found)
    end
  end
end

-- Most parts are had from nobody, with nothing completed: of those the token says all.
local function verdictOf(part)
  if part.outcome == 'acquired' then
    if not part.takeover and #part.completed == 0 then
      return part.token
    end
    return { 'acquired', part.completed, part.token, part.takeover and describeHolder(part.takeover) }
  elseif part.outcome == 'held' then
    return { 'held', part.completed, part.remaining, describeHolder(part.holder) }
  end
  return { part.outcome, part.completed }
end

local function answer(claim)
  local verdicts, isAnyHeld = {}, claim.isRefused
  for _, part in ipairs(claim.parts) do
    decide(claim, part)
    isAnyHeld = isAnyHeld or part.outcome == 'held'
  end
  for p, part in ipairs(claim.parts) do
    if part.outcome == 'acquired' and claim.whole and isAnyHeld then
      part.outcome = 'free'
    end
    if part.outcome == 'acquired' then
      take(claim, part)
    else
      giveBack(claim, part)
    end
    if part.outcome == 'held' then
      markContended(claim, part)
    end
    verdicts[p] = verdictOf(part)
  end
  return verdicts
end

local answers = {}
for c = 1, nextValue() do
  answers[c] = answer(readClaim())
end
return answers
