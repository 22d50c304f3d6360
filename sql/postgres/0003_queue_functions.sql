-- What session-lock calls of the queue. As in the files before: a batch is one call, and the order in which rows are
-- locked stands at the head of the tables.

-- May a message of this status be queued, as if it were new?
CREATE OR REPLACE FUNCTION session_lock_is_forgotten(status text, expires_at timestamptz)
RETURNS boolean LANGUAGE sql VOLATILE AS $$
  SELECT status = 'failed' OR status IN ('completed', 'dead') AND expires_at <= clock_timestamp()
$$;

-- Stores messages. The first group of arrays has one element for each session of the batch, sorted by its key: how
-- many messages of it there are, and how long it gathers; the second one for each message: the number (from 1) of its
-- session among those, its own within that session, and where its payload ends in all of them. The answer is null where all are queued now; otherwise the
-- numbers of those that were known.
CREATE OR REPLACE FUNCTION session_lock_enqueue(
  lock_wait_ms integer,
  line_keys bytea[], prospects text[], line_devices text[], counts integer[], quiet_micros bigint[], most_micros bigint[],
  message_keys bytea[], message_lines integer[], ranks integer[], providers text[], devices text[], ids text[],
  session_keys bytea[], owners text[], payload_ends integer[], payloads bytea
) RETURNS json LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  -- The first number of a new backlog comes after this, so that no one looks through what an earlier one has left.
  numbers_above CONSTANT bigint := session_lock_micros(clock_timestamp());
  fresh integer[];
  last_sequences bigint[];
  stored bytea[];
BEGIN
  PERFORM session_lock_begin(lock_wait_ms);
  -- A session whose messages are all known gets no backlog. What is seen here is decided below, under the lock.
  SELECT array_agg(DISTINCT w.line) INTO fresh
    FROM unnest(message_keys, message_lines) AS w (key, line)
    LEFT JOIN session_lock_messages AS known ON known.message_key = w.key
    WHERE known.message_key IS NULL OR session_lock_is_forgotten(known.status, known.expires_at);

  WITH grown AS (
    INSERT INTO session_lock_backlogs AS backlog (session_key, id_prospect, id_device, first_sequence, last_sequence,
      since, due_at)
    SELECT w.key, w.prospect, w.device, numbers_above + 1, numbers_above + w.count, clock_timestamp(), clock_timestamp()
    FROM unnest(line_keys, prospects, line_devices, counts) WITH ORDINALITY AS w (key, prospect, device, count, line)
    WHERE w.line = ANY (fresh) ORDER BY w.key
    ON CONFLICT (session_key) DO UPDATE SET
      last_sequence = backlog.last_sequence + 1 + excluded.last_sequence - excluded.first_sequence
    RETURNING session_key, last_sequence
  )
  SELECT array_agg(last_sequence ORDER BY session_key) INTO last_sequences FROM grown;

  IF quiet_micros IS NOT NULL THEN
    UPDATE session_lock_backlogs AS backlog
    SET due_at = least(since + w.most * interval '1 microsecond', clock_timestamp() + w.quiet * interval '1 microsecond')
    FROM unnest(line_keys, quiet_micros, most_micros) WITH ORDINALITY AS w (key, quiet, most, line)
    WHERE w.line = ANY (fresh) AND w.quiet IS NOT NULL AND backlog.session_key = w.key
      AND taken_through IS NULL AND attempts = 0 AND due_at IS NOT NULL;
  END IF;

  WITH written AS (
    INSERT INTO session_lock_messages AS known (message_key, provider, id_device, message_id, session_key, status,
      owner, payload, received_at)
    SELECT w.key, w.provider, w.device, w.id, w.session_key, 'queued', w.owner,
      substring(payloads FROM coalesce(payload_ends[place - 1], 0) + 1
        FOR payload_ends[place] - coalesce(payload_ends[place - 1], 0)), clock_timestamp()
    FROM unnest(message_keys, message_lines, providers, devices, ids, session_keys, owners) WITH ORDINALITY
      AS w (key, line, provider, device, id, session_key, owner, place)
    WHERE w.line = ANY (fresh) ORDER BY w.key
    ON CONFLICT (message_key) DO UPDATE SET
      provider = excluded.provider, id_device = excluded.id_device, message_id = excluded.message_id,
      session_key = excluded.session_key, status = excluded.status, owner = excluded.owner, node_id = NULL,
      fencing_token = NULL, attempts = 0, last_error = NULL, response = NULL, payload = excluded.payload,
      received_at = excluded.received_at, started_at = NULL, finished_at = NULL, expires_at = NULL
    WHERE session_lock_is_forgotten(known.status, known.expires_at)
    RETURNING message_key
  )
  SELECT array_agg(message_key) INTO stored FROM written;

  INSERT INTO session_lock_queued (session_key, sequence, message_key, queued_at)
  SELECT line_keys[w.line], last_sequences[array_position(fresh, w.line)] - counts[w.line] + w.rank, w.key,
    clock_timestamp()
  FROM unnest(message_keys, message_lines, ranks) AS w (key, line, rank)
  WHERE cardinality(stored) = cardinality(message_keys) OR w.key = ANY (stored);

  IF cardinality(stored) = cardinality(message_keys) THEN
    RETURN NULL;
  END IF;
  -- A repeat whose first try had arrived finds its own messages.
  RETURN (
    SELECT json_agg(w.place) FROM unnest(message_keys, owners) WITH ORDINALITY AS w (key, owner, place)
    WHERE (stored IS NULL OR w.key <> ALL (stored)) AND NOT EXISTS (
      SELECT 1 FROM (SELECT * FROM session_lock_messages AS message WHERE message.message_key = w.key OFFSET 0) AS known
      WHERE known.owner = w.owner AND known.status = 'queued'
    )
  );
END $$;

-- Takes the sessions that are due, the longest due first, at most as many as there are owners. The answer is null
-- where there are none; otherwise {sessions, messages, claim}: the sessions sorted by key, the messages with the
-- numbers (from 1) of their sessions and the sizes of their payloads, and what became of the claim for all of them.
-- The payloads come one after another, in base64.
CREATE OR REPLACE FUNCTION session_lock_take(
  lock_wait_ms integer, new_owners text[], node text, lease_micros bigint, token_above bigint, messages_each integer,
  last_attempt integer,
  OUT answer json, OUT payloads text
) LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  moment timestamptz;
  due_keys bytea[];
  due_prospects text[];
  due_devices text[];
  due_attempts integer[];
  due_firsts bigint[];
  line_keys bytea[];
  prospects text[];
  devices text[];
  message_lists text[];
  throughs bigint[];
  sessions json;
  message_keys bytea[];
  message_lines integer[];
  message_dues integer[];
  sequences bigint[];
  messages json;
  claimed json;
  found integer;
BEGIN
  PERFORM session_lock_begin(lock_wait_ms);
  moment := clock_timestamp();
  SELECT array_agg(session_key), array_agg(id_prospect), array_agg(id_device), array_agg(attempts),
      array_agg(first_sequence)
    INTO due_keys, due_prospects, due_devices, due_attempts, due_firsts
    FROM (
      SELECT * FROM session_lock_backlogs WHERE due_at <= moment ORDER BY due_at
      LIMIT cardinality(new_owners) FOR UPDATE SKIP LOCKED
    ) AS due;
  IF due_keys IS NULL THEN
    RETURN;
  END IF;

  -- Only now, when nobody else adds or removes any. What a direct claim has completed meanwhile is passed over.
  SELECT array_agg(message_key), array_agg(line), array_agg(due), array_agg(sequence), json_agg(json_build_array(line,
      convert_from(message_key, 'UTF8'), provider, id_device, message_id, octet_length(payload),
      session_lock_micros(received_at))), encode(string_agg(payload, ''), 'base64')
    INTO message_keys, message_lines, message_dues, sequences, messages, payloads
    FROM (
      SELECT head.*, w.due::integer, dense_rank() OVER (ORDER BY w.key)::integer AS line
      FROM unnest(due_keys, due_firsts, due_attempts) WITH ORDINALITY AS w (key, first, attempts, due)
      CROSS JOIN LATERAL (
        SELECT first_ones.*, bool_or(status = 'dead') OVER (ORDER BY sequence) AS is_stopped
        FROM (
          SELECT queued.sequence, message.*
          FROM session_lock_queued AS queued
          CROSS JOIN LATERAL (
            SELECT * FROM session_lock_messages AS known WHERE known.message_key = queued.message_key OFFSET 0
          ) AS message
          WHERE queued.session_key = w.key AND queued.sequence >= w.first AND message.status IN ('queued', 'dead')
          -- The last time, the first one comes alone: those behind it must not die with it.
          ORDER BY queued.sequence
          LIMIT CASE WHEN w.attempts > 0 AND w.attempts + 1 >= last_attempt THEN 1 ELSE messages_each END
        ) AS first_ones
      ) AS head
      WHERE NOT head.is_stopped
      ORDER BY w.key, head.sequence
    ) AS heads;
  SELECT array_agg(due_keys[due]), array_agg(due_prospects[due]), array_agg(due_devices[due]), array_agg(list),
      array_agg(through), json_agg(json_build_array(convert_from(due_keys[due], 'UTF8'), due_prospects[due],
        due_devices[due], due_attempts[due] + 1))
    INTO line_keys, prospects, devices, message_lists, throughs, sessions
    FROM (
      SELECT due, max(sequence) AS through, json_agg(convert_from(key, 'UTF8') ORDER BY sequence)::text AS list
      FROM unnest(message_keys, message_lines, message_dues, sequences) AS w (key, line, due, sequence)
      GROUP BY line, due ORDER BY line
    ) AS lines;

  found := coalesce(cardinality(line_keys), 0);
  IF found < cardinality(due_keys) THEN
    due_keys := ARRAY(SELECT key FROM unnest(due_keys) AS key WHERE found = 0 OR key <> ALL (line_keys));
    -- A dead message is the first of them: until somebody steps in. The others have none left.
    WITH stopped AS (
      UPDATE session_lock_backlogs AS backlog SET due_at = NULL
      WHERE session_key = ANY (due_keys) AND EXISTS (
        SELECT 1 FROM session_lock_queued AS queued
        CROSS JOIN LATERAL (
          SELECT * FROM session_lock_messages AS known WHERE known.message_key = queued.message_key OFFSET 0
        ) AS message
        WHERE queued.session_key = backlog.session_key AND queued.sequence >= backlog.first_sequence
          AND message.status = 'dead')
      RETURNING session_key
    )
    SELECT array_agg(key) INTO due_keys FROM unnest(due_keys) AS key WHERE key NOT IN (SELECT session_key FROM stopped);
    DELETE FROM session_lock_queued WHERE session_key = ANY (due_keys);
    DELETE FROM session_lock_backlogs WHERE session_key = ANY (due_keys);
  END IF;
  IF found = 0 THEN
    RETURN;
  END IF;

  claimed := session_lock_claim(lock_wait_ms, line_keys, ARRAY(SELECT generate_series(1, found)),
    ARRAY(SELECT generate_series(1, found)), array_fill(false, ARRAY[found]), prospects, devices, new_owners[1:found],
    array_fill(node, ARRAY[found]), message_lists, array_fill(token_above, ARRAY[found]),
    array_fill(lease_micros, ARRAY[found]), message_keys, message_lines);

  -- Who is held by a direct claim is due again in a moment; whose messages are all completed, at once.
  moment := clock_timestamp();
  UPDATE session_lock_backlogs AS backlog SET
    due_at = CASE w.outcome WHEN 'acquired' THEN moment + lease_micros * interval '1 microsecond'
      WHEN 'held' THEN moment + least(coalesce(w.remaining, 0), 1000000) * interval '1 microsecond' ELSE due_at END,
    attempts = CASE w.outcome WHEN 'acquired' THEN attempts + 1 ELSE attempts END,
    taken_through = CASE w.outcome WHEN 'acquired' THEN w.through END
  FROM (
    SELECT key, through, coalesce(verdict ->> 0, 'acquired') AS outcome, (verdict ->> 2)::bigint AS remaining
    FROM unnest(line_keys, throughs) WITH ORDINALITY AS line (key, through, number)
    LEFT JOIN ROWS FROM (json_array_elements_text(claimed -> 'judged'), json_array_elements(claimed -> 'rows'))
      AS seen (place, verdict) ON seen.place::integer = line.number
  ) AS w
  WHERE backlog.session_key = w.key;

  answer := json_build_object('sessions', sessions, 'messages', messages, 'claim', claimed);
END $$;

-- Those of these messages that are of one of these statuses, and whose payload is there.
CREATE OR REPLACE FUNCTION session_lock_kept(message_keys bytea[], statuses text[])
RETURNS bytea[] LANGUAGE sql VOLATILE AS $$
  SELECT coalesce(array_agg(message_key), '{}')
  FROM (SELECT * FROM session_lock_messages WHERE message_key = ANY (message_keys) OFFSET 0) AS known
  WHERE status = ANY (statuses) AND payload IS NOT NULL
$$;

-- Queues messages of this status again whose payload is still there. Sessions are named beside their messages. The
-- answer is how many there were.
CREATE OR REPLACE FUNCTION session_lock_requeue(
  lock_wait_ms integer, message_keys bytea[], line_keys bytea[], prospects text[], devices text[], wanted_status text
) RETURNS integer LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  numbers_above CONSTANT bigint := session_lock_micros(clock_timestamp());
  found bytea[] := session_lock_kept(message_keys, ARRAY[wanted_status]);
  standing bytea[];
BEGIN
  PERFORM session_lock_begin(lock_wait_ms);
  INSERT INTO session_lock_backlogs AS backlog (session_key, id_prospect, id_device, first_sequence, last_sequence,
    since, due_at)
  SELECT DISTINCT ON (w.line) w.line, w.prospect, w.device, numbers_above + 1, numbers_above, clock_timestamp(),
    clock_timestamp()
  FROM unnest(message_keys, line_keys, prospects, devices) AS w (key, line, prospect, device)
  WHERE w.key = ANY (found) ORDER BY w.line
  -- Locked, and left as it is.
  ON CONFLICT (session_key) DO UPDATE SET attempts = backlog.attempts;

  PERFORM 1 FROM session_lock_messages WHERE message_key = ANY (found) ORDER BY message_key FOR UPDATE;
  found := session_lock_kept(found, ARRAY[wanted_status]);
  UPDATE session_lock_messages SET status = 'queued', last_error = NULL, finished_at = NULL, expires_at = NULL
    WHERE message_key = ANY (found);

  -- What stands where its session has been taken already leaves the line with that, so it gets another place.
  DELETE FROM session_lock_queued AS line USING session_lock_backlogs AS backlog
    WHERE line.session_key = ANY (line_keys) AND line.message_key = ANY (found)
      AND backlog.session_key = line.session_key
      AND line.sequence <= coalesce(backlog.taken_through, backlog.first_sequence - 1);
  -- Those that stopped their session stand in line still, and are due.
  SELECT coalesce(array_agg(message_key), '{}') INTO standing
    FROM session_lock_queued WHERE session_key = ANY (line_keys) AND message_key = ANY (found);
  UPDATE session_lock_backlogs SET due_at = clock_timestamp(), attempts = 0
    WHERE wanted_status = 'dead' AND taken_through IS NULL AND session_key IN (
      SELECT w.line FROM unnest(message_keys, line_keys) AS w (key, line) WHERE w.key = ANY (standing)
    );

  WITH added AS (
    INSERT INTO session_lock_queued (session_key, sequence, message_key, queued_at)
    SELECT w.line, backlog.last_sequence + row_number() OVER (PARTITION BY w.line ORDER BY w.place), w.key,
      clock_timestamp()
    FROM unnest(message_keys, line_keys) WITH ORDINALITY AS w (key, line, place)
    JOIN session_lock_backlogs AS backlog ON backlog.session_key = w.line
    WHERE w.key = ANY (found) AND w.key <> ALL (standing)
    RETURNING session_key, sequence
  )
  UPDATE session_lock_backlogs AS backlog SET last_sequence = latest.sequence
  FROM (SELECT session_key, max(sequence) AS sequence FROM added GROUP BY session_key) AS latest
  WHERE backlog.session_key = latest.session_key;
  RETURN cardinality(found);
END $$;

-- Completes queued and dead messages unhandled, but none of a session that is in somebody's hands. The answer is how
-- many there were.
CREATE OR REPLACE FUNCTION session_lock_discard(lock_wait_ms integer, message_keys bytea[], retention_micros bigint)
RETURNS integer LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  found bytea[] := session_lock_kept(message_keys, ARRAY['queued', 'dead']);
  line_keys bytea[];
  shorter bytea[];
  firsts bigint[];
BEGIN
  PERFORM session_lock_begin(lock_wait_ms);
  SELECT array_agg(coalesce(session_key, message_key)) INTO line_keys
    FROM session_lock_messages WHERE message_key = ANY (found);
  PERFORM 1 FROM session_lock_backlogs WHERE session_key = ANY (line_keys) ORDER BY session_key FOR UPDATE;
  PERFORM 1 FROM session_lock_messages WHERE message_key = ANY (found) ORDER BY message_key FOR UPDATE;
  found := session_lock_kept(found, ARRAY['queued', 'dead']);
  WITH changed AS (
    UPDATE session_lock_messages AS message SET status = 'completed', finished_at = clock_timestamp(),
      expires_at = clock_timestamp() + retention_micros * interval '1 microsecond'
    WHERE message_key = ANY (found) AND NOT EXISTS (
      SELECT 1 FROM session_lock_sessions AS held
      WHERE held.session_key = coalesce(message.session_key, message.message_key)
        AND held.expires_at > clock_timestamp()
    )
    RETURNING message_key
  )
  SELECT coalesce(array_agg(message_key), '{}') INTO found FROM changed;

  WITH removed AS (
    DELETE FROM session_lock_queued WHERE session_key = ANY (line_keys) AND message_key = ANY (found)
    RETURNING session_key, sequence
  )
  SELECT array_agg(session_key), array_agg(first) INTO shorter, firsts
    FROM (SELECT session_key, min(sequence) AS first FROM removed GROUP BY session_key) AS lines;
  DELETE FROM session_lock_backlogs AS backlog WHERE session_key = ANY (shorter)
    AND NOT EXISTS (SELECT 1 FROM session_lock_queued AS queued WHERE queued.session_key = backlog.session_key);
  -- Where the first in line went, the next one is due; the wait of another one, or its stop, goes on.
  UPDATE session_lock_backlogs AS backlog
  SET due_at = clock_timestamp(), since = clock_timestamp(), attempts = 0, taken_through = NULL
  FROM unnest(shorter, firsts) AS w (key, first)
  WHERE backlog.session_key = w.key AND cardinality(session_lock_kept(ARRAY(
    SELECT message_key FROM session_lock_queued AS queued
    WHERE queued.session_key = w.key AND queued.sequence < w.first
  ), ARRAY['queued', 'dead'])) = 0;
  RETURN cardinality(found);
END $$;

-- Moves a source's position, unless it is elsewhere already. NULL: it has none yet.
CREATE OR REPLACE FUNCTION session_lock_advance(lock_wait_ms integer, name bytea, position_from bytea, position_to bytea)
RETURNS boolean LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
  PERFORM session_lock_begin(lock_wait_ms);
  IF position_from IS NULL THEN
    INSERT INTO session_lock_sources (source, position) VALUES (name, position_to) ON CONFLICT (source) DO NOTHING;
  ELSE
    UPDATE session_lock_sources SET position = position_to WHERE source = name AND position = position_from;
  END IF;
  RETURN FOUND;
END $$;

INSERT INTO session_lock_migrations (version, name, applied_at)
  VALUES (3, '0003_queue_functions', clock_timestamp()) ON CONFLICT (version) DO NOTHING;
