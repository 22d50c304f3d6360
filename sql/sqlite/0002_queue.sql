-- The queue behind the inbox: messages that are kept until they are handled. Both tables are empty when nothing waits.

-- One row for each session with queued messages. Receiver and finisher both write it, in the transaction in which
-- they add or remove messages.
CREATE TABLE session_lock_backlogs (
  session_key   TEXT    NOT NULL PRIMARY KEY,
  id_prospect   TEXT,
  id_device     TEXT,
  -- The number of its latest message.
  last_sequence INTEGER NOT NULL,
  -- When its first message came.
  since         INTEGER NOT NULL,
  -- From then on a worker may take it. While one has it, when its lease would run out. NULL: stopped at a dead message.
  due_at        INTEGER,
  -- How often its first message was begun.
  attempts      INTEGER NOT NULL DEFAULT 0,
  -- The number of the last message that a worker has in hand. NULL: nobody has it.
  taken_through INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX session_lock_backlogs_due_at ON session_lock_backlogs (due_at);

-- One row for each queued message: the order within its session.
CREATE TABLE session_lock_queued (
  session_key TEXT    NOT NULL,
  sequence    INTEGER NOT NULL,
  message_key TEXT    NOT NULL,
  PRIMARY KEY (session_key, sequence)
) STRICT, WITHOUT ROWID;

-- How far each source that is polled has been read.
CREATE TABLE session_lock_sources (
  source   TEXT NOT NULL PRIMARY KEY,
  position TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO session_lock_migrations (version, name, applied_at)
VALUES (2, '0002_queue', CAST(strftime('%s', 'now') AS INTEGER) * 1000);
