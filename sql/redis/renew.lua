-- Lets each row live on that is still this owner's, expired or not.
local answers = {}
for r = 1, nextNumber() do
  local owner, staleAfter, verdict = nextText(), nextNumber(), {}
  for k = 1, nextNumber() do
    local key, token = nextText(), nextNumber()
    local row = rowAt(key)
    local isHeld = row and row[OWNER] == owner and row[TOKEN] == token
    if isHeld then
      row[RENEWED_AT], row[EXPIRES_AT] = now, now + staleAfter
      putRow(key, row)
    end
    verdict[k] = isHeld and 1 or 0
  end
  answers[r] = verdict
end
return answers
