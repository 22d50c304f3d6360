-- Which of these messages are completed and in retention: keys and responses in turn.
local completed = {}
for _ = 1, nextValue() do
  local key = nextValue()
  local message = messageAt(key)
  if message and isHandled(message) then
    table.insert(completed, key)
    table.insert(completed, message[M_RESPONSE])
  end
end
return completed
