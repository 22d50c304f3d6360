-- session-lock's tables for MariaDB 10.6+ and MySQL 8.0.20+.
--
-- To run it by hand: mysql --database=bot < 0001_tables.sql. Another table prefix than session_lock_ is
-- put in its place everywhere in this file. The program itself needs no more than SELECT, INSERT, UPDATE
-- and DELETE on these tables.
--
-- Keys are bytes, because every text collation takes some different texts for the same. The readable
-- columns beside them are for people. Times are UTC.

-- Which files have been applied.
CREATE TABLE IF NOT EXISTS session_lock_migrations (
  version INT UNSIGNED NOT NULL,
  name VARCHAR(100) NOT NULL,
  applied_at DATETIME(6) NOT NULL,
  PRIMARY KEY (version)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What is held now. No row: nobody holds it. No index beside the key, because every message inserts
-- and deletes a row here.
CREATE TABLE IF NOT EXISTS session_lock_sessions (
  session_key VARBINARY(255) NOT NULL,
  id_prospect VARCHAR(512) NULL,
  id_device VARCHAR(512) NULL,
  -- One claim's own random id. NULL after a forced release.
  owner VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
  node_id VARCHAR(512) NOT NULL,
  -- The keys of the messages in hand, as a JSON array.
  message_ids MEDIUMTEXT NOT NULL,
  -- Grows from one lease of a session to the next.
  fencing_token BIGINT UNSIGNED NOT NULL,
  locked_at DATETIME(6) NOT NULL,
  renewed_at DATETIME(6) NOT NULL,
  -- Once this has passed, the row is stale and the next claim takes it over.
  expires_at DATETIME(6) NOT NULL,
  -- 1: somebody on another node waits for it.
  contended TINYINT UNSIGNED NOT NULL DEFAULT 0,
  -- transaction: held no longer than the lock of its handler's transaction.
  strategy VARCHAR(12) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'lease',
  PRIMARY KEY (session_key)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What has happened.
CREATE TABLE IF NOT EXISTS session_lock_messages (
  message_key VARBINARY(255) NOT NULL,
  provider VARCHAR(512) NOT NULL,
  id_device VARCHAR(512) NULL,
  message_id VARCHAR(512) NOT NULL,
  session_key VARBINARY(255) NULL,
  status VARCHAR(12) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  -- Who handled it last.
  owner VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
  node_id VARCHAR(512) NULL,
  fencing_token BIGINT UNSIGNED NULL,
  -- How often it was handled to an end.
  attempts INT UNSIGNED NOT NULL DEFAULT 0,
  last_error VARCHAR(1000) NULL,
  -- The stored answer.
  response MEDIUMBLOB NULL,
  payload MEDIUMBLOB NULL,
  received_at DATETIME(6) NULL,
  started_at DATETIME(6) NULL,
  finished_at DATETIME(6) NULL,
  -- Until then it is remembered.
  expires_at DATETIME(6) NULL,
  next_attempt_at DATETIME(6) NULL,
  PRIMARY KEY (message_key),
  -- For the clean-up, and so that counting by status reads no answers.
  KEY session_lock_messages_expiry (expires_at, status),
  CONSTRAINT session_lock_messages_status
    CHECK (status IN ('queued', 'processing', 'completed', 'failed', 'dead'))
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A session's lock, for as long as a handler's transaction holds this row locked. It says nothing by being there;
-- rows that nobody has locked go with the clean-up.
CREATE TABLE IF NOT EXISTS session_lock_locks (
  session_key VARBINARY(255) NOT NULL,
  created_at DATETIME(6) NOT NULL,
  PRIMARY KEY (session_key),
  KEY session_lock_locks_age (created_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The queue behind the inbox: messages that are kept until they are handled. Empty when nothing waits.
--
-- All transactions lock in this order: backlogs, sessions, queued, messages; each by its key.

-- One row for each session with queued messages. Receiver and finisher both write it, in the transaction in which
-- they add or remove messages.
CREATE TABLE IF NOT EXISTS session_lock_backlogs (
  session_key VARBINARY(255) NOT NULL,
  id_prospect VARCHAR(512) NULL,
  id_device VARCHAR(512) NULL,
  -- The number of its latest message.
  last_sequence BIGINT UNSIGNED NOT NULL,
  -- When its first message came.
  since DATETIME(6) NOT NULL,
  -- From then on a worker may take it. While one has it, when its lease would run out. NULL: stopped at a dead message.
  due_at DATETIME(6) NULL,
  -- How often its first message was begun.
  attempts INT UNSIGNED NOT NULL DEFAULT 0,
  -- The number of the last message that a worker has in hand. NULL: nobody has it.
  taken_through BIGINT UNSIGNED NULL,
  PRIMARY KEY (session_key),
  KEY session_lock_backlogs_due (due_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row for each queued message: the order within its session.
CREATE TABLE IF NOT EXISTS session_lock_queued (
  session_key VARBINARY(255) NOT NULL,
  sequence BIGINT UNSIGNED NOT NULL,
  message_key VARBINARY(255) NOT NULL,
  PRIMARY KEY (session_key, sequence)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- How far each source that is polled has been read.
CREATE TABLE IF NOT EXISTS session_lock_sources (
  source VARBINARY(255) NOT NULL,
  position MEDIUMTEXT NOT NULL,
  PRIMARY KEY (source)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT IGNORE INTO session_lock_migrations (version, name, applied_at) VALUES (1, '0001_tables', UTC_TIMESTAMP(6));
