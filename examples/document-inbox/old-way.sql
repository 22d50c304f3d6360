-- What the old way has beside the tables of tables.sql.
CREATE TABLE jobs (
  id bigserial PRIMARY KEY,
  message_id text NOT NULL,
  sender text NOT NULL,
  document text NOT NULL,
  status text NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'working', 'done', 'failed')),
  taken_by text
);
