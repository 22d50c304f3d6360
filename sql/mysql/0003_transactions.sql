-- What the transaction strategy needs: a row to lock for each session, and a mark on the rows that are held that way.

-- A session's lock, for as long as a handler's transaction holds this row locked. It says nothing by being there;
-- rows that nobody has locked go with the clean-up.
CREATE TABLE IF NOT EXISTS session_lock_locks (
  session_key VARBINARY(255) NOT NULL,
  created_at DATETIME(6) NOT NULL,
  PRIMARY KEY (session_key),
  KEY session_lock_locks_age (created_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- MySQL has no ADD COLUMN IF NOT EXISTS, and a file that was broken off is run again from its start.
SET @session_lock_statement = IF(
  (SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE()
    AND table_name = 'session_lock_sessions' AND column_name = 'strategy') > 0,
  'DO 0',
  'ALTER TABLE session_lock_sessions
     ADD COLUMN strategy VARCHAR(12) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT ''lease'''
);
PREPARE session_lock_statement FROM @session_lock_statement;
EXECUTE session_lock_statement;
DEALLOCATE PREPARE session_lock_statement;

INSERT IGNORE INTO session_lock_migrations (version, name, applied_at)
VALUES (3, '0003_transactions', UTC_TIMESTAMP(6));
