-- The queue behind the inbox: messages that are kept until they are handled. Both tables are empty when nothing waits.
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

INSERT IGNORE INTO session_lock_migrations (version, name, applied_at) VALUES (2, '0002_queue', UTC_TIMESTAMP(6));
