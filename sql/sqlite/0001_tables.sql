-- The tables of session-lock for SQLite 3.37 and later.
--
-- session-lock runs this file by itself. To run it by hand: sqlite3 bot.db < 0001_tables.sql
-- All times are milliseconds since 1970-01-01 UTC; a person reads them with
--   SELECT datetime(expires_at / 1000, 'unixepoch') FROM session_lock_sessions;

-- Which of these files have been applied. Each writes its own row, at its end.
CREATE TABLE session_lock_migrations (
  version    INTEGER NOT NULL PRIMARY KEY,
  name       TEXT    NOT NULL,
  applied_at INTEGER NOT NULL
) STRICT;

-- What is held now. An idle bot has no rows here.
CREATE TABLE session_lock_sessions (
  session_key   TEXT    NOT NULL PRIMARY KEY,
  id_prospect   TEXT,
  id_device     TEXT,
  owner         TEXT,
  node_id       TEXT,
  message_ids   TEXT    NOT NULL,
  fencing_token INTEGER NOT NULL,
  locked_at     INTEGER NOT NULL,
  renewed_at    INTEGER NOT NULL,
  expires_at    INTEGER NOT NULL,
  contended     INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- What has happened.
CREATE TABLE session_lock_messages (
  message_key     TEXT    NOT NULL PRIMARY KEY,
  provider        TEXT    NOT NULL,
  id_device       TEXT,
  message_id      TEXT    NOT NULL,
  session_key     TEXT,
  status          TEXT    NOT NULL
    CONSTRAINT session_lock_messages_status
    CHECK (status IN ('queued', 'processing', 'completed', 'failed', 'dead')),
  owner           TEXT,
  node_id         TEXT,
  fencing_token   INTEGER,
  attempts        INTEGER NOT NULL DEFAULT 0,
  last_error      TEXT,
  response        BLOB,
  payload         BLOB,
  received_at     INTEGER,
  started_at      INTEGER,
  finished_at     INTEGER,
  expires_at      INTEGER,
  next_attempt_at INTEGER
) STRICT, WITHOUT ROWID;

-- For the clean-up (status, expires_at), and for counting and listing without reading the rows.
CREATE INDEX session_lock_messages_expires_at ON session_lock_messages (status, expires_at, finished_at);

-- The largest fencing token ever given. SQLite's clock has milliseconds, and two leases of one
-- session can follow each other faster than that.
CREATE TABLE session_lock_meta (
  name  TEXT    NOT NULL PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO session_lock_meta (name, value) VALUES ('largest_token', 0);

-- The queue behind the inbox: messages that are kept until they are handled. Empty when nothing waits.

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
VALUES (1, '0001_tables', CAST(strftime('%s', 'now') AS INTEGER) * 1000);
