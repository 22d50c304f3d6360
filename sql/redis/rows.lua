-- The rows under these keys, those that are there.
local answers = {}
for _ = 1, nextNumber() do
  local key = nextText()
  local row = rowAt(key)
  if row then
    table.insert(answers, { key, row, now })
  end
end
return answers
