-- Forced release. The row stays, so that its token lives on. Answers with the rows as they were.
local answers, onlyStale = {}, nextValue() == 1
for _ = 1, nextValue() do
  local key = nextValue()
  local row = rowAt(key)
  if row and (not onlyStale or (row[OWNER] and row[EXPIRES_AT] <= now)) then
    table.insert(answers, { key, row, now })
    local released = cmsgpack.unpack(cmsgpack.pack(row))
    released[OWNER], released[EXPIRES_AT] = false, math.min(row[EXPIRES_AT], now)
    putRow(key, released)
    tellWaiting(key, row)
  end
end
return answers
