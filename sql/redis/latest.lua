-- The keys of the latest messages of each class, with the end of their handling: key and time in turn.
local limit, status, latest = nextValue(), nextValue(), {}
for _, class in ipairs(redis.call('SMEMBERS', prefix .. 'classes')) do
  if status == '' or string.sub(class, 1, #status + 1) == status .. ':' then
    for _, word in ipairs(redis.call('ZREVRANGE', prefix .. class, 0, limit - 1, 'WITHSCORES')) do
      table.insert(latest, word)
    end
  end
end
return latest
