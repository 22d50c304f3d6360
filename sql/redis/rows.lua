-- The rows under these keys, those that are there.
local answers = {}
for _ = 1, nextValue() do
  local key = nextValue()
  local row = rowAt(key)
  if row then
    table.insert(answers, { key, row, now })
  end
end
return answers
