-- The keys of all rows that are held.
return redis.call('ZRANGE', prefix .. 'held', 0, -1)
