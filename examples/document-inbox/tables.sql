-- The tables of the example, for Postgres 13 and later. session-lock makes its own at the first start.

-- What another service fills: one row for each document that came in, by mail for instance.
CREATE TABLE incoming (
  id bigserial PRIMARY KEY,
  -- What a mail keeps when it is sent again. Not unique: the other service writes down what comes, and some comes
  -- twice. No longer than a message id may be: the poller could not get past such a row.
  message_id text NOT NULL CHECK (octet_length(message_id) BETWEEN 1 AND 512),
  sender text NOT NULL,
  document text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  -- The transaction that wrote the row: see incoming.mjs. Whoever fills the table need not know of it.
  written_by xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX incoming_in_order ON incoming (written_by, id);

CREATE TABLE customers (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email text NOT NULL UNIQUE
);

-- How it stands with a customer: one row each, made together with the customer.
CREATE TABLE cases (
  customer_id bigint PRIMARY KEY REFERENCES customers,
  state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'accepted', 'refused')),
  accepted integer NOT NULL DEFAULT 0,
  refused integer NOT NULL DEFAULT 0
);

-- What was decided. Make message_id unique in your own: it is not here, so that a document handled twice would be seen.
CREATE TABLE documents (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  message_id text NOT NULL,
  customer_id bigint NOT NULL REFERENCES customers,
  decision text NOT NULL CHECK (decision IN ('accepted', 'refused')),
  decided_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Whoever holds the link may sign in, so only a hash of what is in it is kept.
CREATE TABLE sign_in_links (
  token_hash bytea PRIMARY KEY,
  customer_id bigint NOT NULL REFERENCES customers,
  expires_at timestamptz NOT NULL
);
