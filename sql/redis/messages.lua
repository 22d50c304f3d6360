-- The messages under these keys, those that are there, without their responses.
local answers = {}
for _ = 1, nextValue() do
  local key = nextValue()
  local message = messageAt(key)
  if message then
    message[M_RESPONSE] = false
    table.insert(answers, { key, message })
  end
end
return answers
