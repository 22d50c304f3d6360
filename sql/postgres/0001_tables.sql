-- session-lock's tables for Postgres 12 and later.
--
-- To run it by hand: psql --single-transaction --file=0001_tables.sql bot, and the other files after it, in
-- order. Another table prefix than session_lock_ is put in its place everywhere in these files. The program
-- itself needs no more than SELECT, INSERT, UPDATE and DELETE on these tables, and EXECUTE on the functions.
-- The database's encoding has to be UTF8.
--
-- Keys are bytes, because a text collation may take some different texts for the same. The readable
-- columns beside them are for people.

-- Which files have been applied.
CREATE TABLE IF NOT EXISTS session_lock_migrations (
  version integer NOT NULL PRIMARY KEY,
  name text NOT NULL,
  applied_at timestamptz NOT NULL
);

-- What is held now. No row: nobody holds it. No index beside the key, because every message inserts
-- and deletes a row here. For the same reason it is vacuumed by the number of dead rows alone: the table
-- is small, and a share of it would be reached all the time or never.
CREATE TABLE IF NOT EXISTS session_lock_sessions (
  session_key bytea NOT NULL PRIMARY KEY,
  id_prospect varchar(512),
  id_device varchar(512),
  -- One claim's own random id. NULL after a forced release.
  owner varchar(64),
  node_id varchar(512) NOT NULL,
  -- The keys of the messages in hand, as a JSON array.
  message_ids text NOT NULL,
  -- Grows from one lease of a session to the next.
  fencing_token bigint NOT NULL,
  locked_at timestamptz NOT NULL,
  renewed_at timestamptz NOT NULL,
  -- Once this has passed, the row is stale and the next claim takes it over. Not indexed, so that a
  -- renewal stays within its page.
  expires_at timestamptz NOT NULL,
  -- Somebody on another node waits for it.
  contended boolean NOT NULL DEFAULT false,
  -- transaction: held no longer than the advisory lock of its handler's transaction.
  strategy text NOT NULL DEFAULT 'lease'
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- What has happened.
CREATE TABLE IF NOT EXISTS session_lock_messages (
  message_key bytea NOT NULL PRIMARY KEY,
  provider varchar(512) NOT NULL,
  id_device varchar(512),
  message_id varchar(512) NOT NULL,
  session_key bytea,
  -- queued, processing, completed, failed or dead. No CHECK says so, and none anything else here: the server would read
  -- its text again for each row that is written.
  status varchar(12) NOT NULL,
  -- Who handled it last.
  owner varchar(64),
  node_id varchar(512),
  fencing_token bigint,
  -- How often it was handled to an end.
  attempts integer NOT NULL DEFAULT 0,
  last_error varchar(1000),
  -- The stored answer.
  response bytea,
  payload bytea,
  received_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  -- Until then it is remembered.
  expires_at timestamptz,
  next_attempt_at timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0.02);

-- For the clean-up, and so that counting by status reads no answers.
CREATE INDEX IF NOT EXISTS session_lock_messages_expiry ON session_lock_messages (expires_at, status);

-- The queue behind the inbox: messages that are kept until they are handled. Empty when nothing waits.
--
-- Everything locks in one order, and what is of one table by its key: sources, backlogs, sessions, messages, queued.
-- One does not: the take picks backlogs by the time they are due. But it waits for none, so it closes no circle.
-- A direct claim only reads the backlogs, once it has its sessions: who settles removes both in one transaction.

-- One row for each session with queued messages. Receiver and finisher both lock it before they add or remove
-- messages, so that no message is left without a worker coming for it. Vacuumed as the sessions are, and for the
-- same reason.
CREATE TABLE IF NOT EXISTS session_lock_backlogs (
  session_key bytea NOT NULL PRIMARY KEY,
  id_prospect varchar(512),
  id_device varchar(512),
  -- Before this number nothing is left in its line, so that nobody looks through what has gone.
  first_sequence bigint NOT NULL,
  -- The number of its latest message.
  last_sequence bigint NOT NULL,
  -- The number of the last message in a worker's hands. NULL: no worker has it.
  taken_through bigint,
  -- When its first message came.
  since timestamptz NOT NULL,
  -- From then on a worker may take it. While one has it, when its lease would run out. NULL: stopped at a dead message.
  due_at timestamptz,
  -- How often its first message was begun.
  attempts integer NOT NULL DEFAULT 0
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

CREATE INDEX IF NOT EXISTS session_lock_backlogs_due ON session_lock_backlogs (due_at);

-- One row for each queued message: the order within its session.
CREATE TABLE IF NOT EXISTS session_lock_queued (
  session_key bytea NOT NULL,
  sequence bigint NOT NULL,
  message_key bytea NOT NULL,
  queued_at timestamptz NOT NULL,
  PRIMARY KEY (session_key, sequence)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- How far each source that is polled has been read. Bytes, since a source may write its positions as it likes.
CREATE TABLE IF NOT EXISTS session_lock_sources (
  source bytea NOT NULL PRIMARY KEY,
  position bytea NOT NULL
);

INSERT INTO session_lock_migrations (version, name, applied_at) VALUES (1, '0001_tables', clock_timestamp())
  ON CONFLICT (version) DO NOTHING;
