-- Lets each row live on that is still this owner's, expired or not. `raised`: the token that all of them have from
-- now on, of a part whose rows lie on several servers; 0 where they keep theirs.
local answers = {}
for r = 1, nextValue() do
  local owner, staleAfter, raised, verdict = nextValue(), nextValue(), nextValue(), {}
  for k = 1, nextValue() do
    local key, token = nextValue(), nextValue()
    local row = rowAt(key)
    local isHeld = row and row[OWNER] == owner and (row[TOKEN] == token or row[TOKEN] == raised)
    if isHeld then
      row[RENEWED_AT], row[EXPIRES_AT] = now, now + staleAfter
      if raised > 0 then
        row[TOKEN] = raised
        keepToken(raised)
      end
      putRow(key, row)
    end
    verdict[k] = isHeld and 1 or 0
  end
  answers[r] = verdict
end
return answers
