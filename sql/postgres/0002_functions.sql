-- What session-lock calls: one function for each batch, so that a batch is one round trip and one transaction.
--
-- Each statement of such a function sees what was committed before that statement began, which is what makes
-- the look after the lock worth anything. One statement with several writing parts would not do: all of its
-- parts see what was there before the first of them waited.
--
-- The settings of the functions are for the plans: the keys are always few, and the planner, which does not
-- know that, reads whole tables while they are new. `OFFSET 0` keeps it from looking for the other conditions
-- first: the index on expires_at would serve, by way of every message that is remembered.

-- Called first. A wait for somebody else's lock ends before the caller gives up.
CREATE OR REPLACE FUNCTION session_lock_begin(lock_wait_ms integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'the transaction is %, not read committed', current_setting('transaction_isolation')
      USING ERRCODE = 'SL001';
  END IF;
  PERFORM set_config('lock_timeout', lock_wait_ms::text, true);
END $$;

-- Microseconds since 1970. Stable, as what it is made of is, so that the planner may put it in place of each call.
CREATE OR REPLACE FUNCTION session_lock_micros(moment timestamptz) RETURNS bigint LANGUAGE sql STABLE AS
  'SELECT (extract(epoch FROM moment) * 1000000)::bigint';

-- A batch of claims. The arrays of the first group have one element for each row wanted, sorted by their keys, so that
-- all claims lock in one order; row_parts numbers the parts, row_claims the claims. direct_keys: the rows of those
-- claims that do not come out of the queue; a backlog holds them. wholes: of claims of several parts. The answer is
-- {tokens} in the order of the rows. Where some row was not free or something is completed, those rows have none, and
-- there is more: {judged} with their places, and what session_lock_judge says of them.
--
-- Row by row: of one row, the usual batch of a bot that is not busy, that costs the server two thirds of what statements
-- over arrays do, of thirty as much; and only the row that had to wait is stamped again.
CREATE OR REPLACE FUNCTION session_lock_claim(
  lock_wait_ms integer,
  row_keys bytea[], row_parts integer[], row_claims integer[], wholes boolean[],
  prospects text[], devices text[], owners text[], nodes text[], message_lists text[],
  tokens_above bigint[], lease_micros bigint[],
  message_keys bytea[], message_parts integer[],
  -- Absent: all come out of the queue.
  direct_keys bytea[] DEFAULT NULL,
  -- Absent: all are leases.
  strategies text[] DEFAULT NULL
) RETURNS json LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  begun CONSTANT timestamptz := clock_timestamp();
  moment timestamptz;
  token bigint;
  tokens bigint[] := '{}';
  parts integer := 0;
  handled_parts integer[];
  judged integer[];
BEGIN
  PERFORM session_lock_begin(lock_wait_ms);

  -- Inserts the rows that are free, and locks the others without changing them.
  FOR place IN 1 .. cardinality(row_keys) LOOP
    moment := clock_timestamp();
    INSERT INTO session_lock_sessions AS held (session_key, id_prospect, id_device, owner, node_id, message_ids,
      fencing_token, locked_at, renewed_at, expires_at, strategy)
    VALUES (row_keys[place], prospects[place], devices[place], owners[place], nodes[place], message_lists[place],
      greatest(tokens_above[place] + 1, session_lock_micros(moment)), moment, moment,
      moment + lease_micros[place] * interval '1 microsecond', coalesce(strategies[place], 'lease'))
    ON CONFLICT (session_key) DO UPDATE SET owner = held.owner WHERE false
    RETURNING fencing_token INTO token;
    -- It waited, so its stamp may be from before the lock.
    IF token IS NOT NULL AND clock_timestamp() > moment + interval '250 microseconds' THEN
      moment := clock_timestamp();
      UPDATE session_lock_sessions SET fencing_token = greatest(tokens_above[place] + 1, session_lock_micros(moment)),
        locked_at = moment, renewed_at = moment, expires_at = moment + lease_micros[place] * interval '1 microsecond'
      WHERE session_key = row_keys[place] RETURNING fencing_token INTO token;
    END IF;
    tokens := tokens || token;
    parts := greatest(parts, row_parts[place]);
  END LOOP;

  -- From here on everything is locked, so this clock is later than that of any holder before.
  moment := clock_timestamp();
  IF array_position(tokens, NULL) IS NULL AND parts = cardinality(row_keys)
    AND NOT EXISTS (
      SELECT 1 FROM (SELECT * FROM session_lock_messages WHERE message_key = ANY (message_keys) OFFSET 0) AS known
      WHERE status IN ('completed', 'dead') AND (expires_at IS NULL OR expires_at > moment))
    AND NOT EXISTS (SELECT 1 FROM session_lock_backlogs WHERE session_key = ANY (direct_keys))
  THEN
    RETURN json_build_object('tokens', tokens);
  END IF;

  -- Where all parts have one row each and stand for themselves, only those that something is against are judged.
  IF parts = cardinality(row_keys) AND NOT true = ANY (wholes) THEN
    SELECT array_agg(w.part) INTO handled_parts
      FROM unnest(message_keys, message_parts) AS w (key, part)
      CROSS JOIN LATERAL (SELECT * FROM session_lock_messages WHERE message_key = w.key OFFSET 0) AS known
      WHERE status IN ('completed', 'dead') AND (expires_at IS NULL OR expires_at > moment);
    SELECT array_agg(session_key) INTO direct_keys FROM session_lock_backlogs WHERE session_key = ANY (direct_keys);
    judged := ARRAY(
      SELECT w.place FROM unnest(row_keys, row_parts, tokens) WITH ORDINALITY AS w (key, part, token, place)
      WHERE w.token IS NULL OR w.part = ANY (handled_parts) OR w.key = ANY (direct_keys) ORDER BY w.place);
  ELSE
    judged := ARRAY(SELECT generate_series(1, cardinality(row_keys)));
  END IF;
  SELECT array_agg(row_keys[place]), array_agg(row_parts[place]), array_agg(row_claims[place]),
      array_agg(wholes[place]), array_agg(prospects[place]), array_agg(devices[place]), array_agg(owners[place]),
      array_agg(nodes[place]), array_agg(message_lists[place]), array_agg(tokens_above[place]),
      array_agg(lease_micros[place]), array_agg(strategies[place])
    INTO row_keys, row_parts, row_claims, wholes, prospects, devices, owners, nodes, message_lists, tokens_above,
      lease_micros, strategies
    FROM unnest(judged) AS place;
  SELECT array_agg(w.key), array_agg(w.part) INTO message_keys, message_parts
    FROM unnest(message_keys, message_parts) AS w (key, part) WHERE w.part = ANY (row_parts);
  FOR number IN 1 .. cardinality(judged) LOOP
    tokens[judged[number]] := NULL;
  END LOOP;
  RETURN session_lock_judge(begun, moment, tokens, judged, row_keys, row_parts, row_claims, wholes, prospects, devices,
    owners, nodes, message_lists, tokens_above, lease_micros, message_keys, message_parts, direct_keys, strategies);
END $$;

-- Decides about claims whose rows are locked since `moment`, in a call that began at `begun`, and writes it down. The
-- answer is {tokens, judged} as given, and {rows, completed, queued} with the rows in the order given.
-- A claim of the strategy 'transaction' comes from who holds the advisory locks of its rows, so that what others hold
-- that way has been left behind.
CREATE OR REPLACE FUNCTION session_lock_judge(
  begun timestamptz, moment timestamptz, tokens bigint[], judged integer[],
  row_keys bytea[], row_parts integer[], row_claims integer[], wholes boolean[],
  prospects text[], devices text[], owners text[], nodes text[], message_lists text[],
  tokens_above bigint[], lease_micros bigint[],
  message_keys bytea[], message_parts integer[], direct_keys bytea[], strategies text[]
) RETURNS json LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  handled bytea[];
  responses json;
  backlogged bytea[];
  queued json;
  partly integer[];
  outcomes text[];
  row_tokens bigint[];
  rows_seen json;
BEGIN
  SELECT array_agg(message_key), json_agg(json_build_array(convert_from(message_key, 'UTF8'),
      encode(response, 'base64'))),
      (SELECT array_agg(session_key) FROM session_lock_backlogs WHERE session_key = ANY (direct_keys))
    INTO handled, responses, backlogged
    FROM (SELECT * FROM session_lock_messages WHERE message_key = ANY (message_keys) OFFSET 0) AS known
    WHERE status IN ('completed', 'dead') AND (expires_at IS NULL OR expires_at > moment);

  -- The decision, the same as in decide.ts.
  WITH seen AS (
    SELECT w.*, held.owner AS had, held.node_id, held.message_ids, held.fencing_token, held.locked_at,
      held.renewed_at, held.expires_at, held.owner IS NOT DISTINCT FROM w.owner AS mine,
      held.owner IS DISTINCT FROM w.owner AND held.expires_at > moment
        AND NOT (coalesce(w.strategy, 'lease') = 'transaction' AND held.strategy = 'transaction') AS alive
    FROM unnest(row_keys, row_parts, row_claims, wholes, owners, tokens_above, strategies)
      WITH ORDINALITY AS w (key, part, claim, whole, owner, above, strategy, place)
    JOIN session_lock_sessions AS held ON held.session_key = w.key
  ), parts AS (
    SELECT m.part, bool_and(m.key = ANY (handled)) AS is_done
    FROM unnest(message_keys, message_parts) AS m (key, part)
    WHERE handled IS NOT NULL GROUP BY m.part
  ), alone AS (
    SELECT seen.*, CASE WHEN coalesce(parts.is_done, false) THEN 'completed'
      WHEN bool_or(alive) OVER same_part OR bool_or(key = ANY (backlogged)) OVER same_part THEN 'held' ELSE 'acquired' END AS verdict,
      bool_and(mine AND locked_at >= begun) OVER same_part
        AND min(fencing_token) OVER same_part = max(fencing_token) OVER same_part AS is_stamped,
      greatest(above + 1, session_lock_micros(moment), max(fencing_token) OVER same_part + 1) AS next_token
    FROM seen LEFT JOIN parts ON parts.part = seen.part
    WINDOW same_part AS (PARTITION BY seen.part)
  ), together AS (
    SELECT alone.*, CASE WHEN verdict = 'acquired' AND whole AND bool_or(verdict = 'held') OVER (PARTITION BY claim)
      THEN 'free' ELSE verdict END AS outcome,
      CASE WHEN is_stamped THEN fencing_token ELSE next_token END AS token
    FROM alone
  )
  SELECT array_agg(outcome ORDER BY place), array_agg(token ORDER BY place),
    json_agg(CASE WHEN mine THEN json_build_array(outcome, token) ELSE json_build_array(outcome, token,
      CASE WHEN alive THEN session_lock_micros(expires_at) - session_lock_micros(moment) ELSE 0 END,
      had, node_id, message_ids,
      session_lock_micros(moment) - session_lock_micros(locked_at),
      session_lock_micros(moment) - session_lock_micros(renewed_at)) END ORDER BY place)
  INTO outcomes, row_tokens, rows_seen FROM together;

  SELECT array_agg(DISTINCT m.part) INTO partly
    FROM unnest(message_keys, message_parts) AS m (key, part) WHERE m.key = ANY (handled);

  -- All of these rows are locked already. What the insert has written as decided is left alone.
  UPDATE session_lock_sessions AS held SET
    id_prospect = w.prospect, id_device = w.device, owner = w.owner, node_id = w.node,
    message_ids = CASE WHEN w.part = ANY (partly) THEN (
      SELECT coalesce(json_agg(convert_from(m.key, 'UTF8')), '[]')::text
      FROM unnest(message_keys, message_parts) AS m (key, part)
      WHERE m.part = w.part AND m.key <> ALL (handled)
    ) ELSE w.list END,
    fencing_token = w.token, locked_at = moment, renewed_at = moment,
    expires_at = moment + w.lease * interval '1 microsecond', strategy = coalesce(w.strategy, 'lease'),
    contended = held.contended AND held.owner IS NOT DISTINCT FROM w.owner
  FROM unnest(row_keys, row_parts, prospects, devices, owners, nodes, message_lists, lease_micros, outcomes,
    row_tokens, strategies) AS w (key, part, prospect, device, owner, node, list, lease, outcome, token, strategy)
  WHERE held.session_key = w.key AND w.outcome = 'acquired' AND (held.owner IS DISTINCT FROM w.owner
    OR held.fencing_token <> w.token OR coalesce(w.part = ANY (partly), false));

  -- Given back: rows just inserted, or left by a first try whose answer was lost.
  DELETE FROM session_lock_sessions AS held
  USING unnest(row_keys, owners, outcomes) AS w (key, owner, outcome)
  WHERE held.session_key = w.key AND held.owner = w.owner AND w.outcome <> 'acquired';

  IF 'held' = ANY (outcomes) THEN
    UPDATE session_lock_sessions AS held SET contended = true
    FROM unnest(row_keys, owners, outcomes) AS w (key, owner, outcome)
    WHERE held.session_key = w.key AND held.owner IS DISTINCT FROM w.owner AND w.outcome = 'held'
      AND held.expires_at > moment AND NOT held.contended;
  END IF;

  IF backlogged IS NOT NULL THEN
    SELECT json_agg(convert_from(message_key, 'UTF8')) INTO queued
      FROM (SELECT * FROM session_lock_messages WHERE message_key = ANY (message_keys) OFFSET 0) AS known
      WHERE status IN ('queued', 'processing');
  END IF;

  RETURN json_build_object('tokens', tokens, 'judged', judged, 'rows', rows_seen,
    'completed', coalesce(responses, '[]'::json), 'queued', coalesce(queued, '[]'::json));
END $$;

-- Which of these messages are completed and in retention: [key, response as base64].
CREATE OR REPLACE FUNCTION session_lock_look(message_keys bytea[]) RETURNS json LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
  RETURN (
    SELECT coalesce(json_agg(json_build_array(convert_from(message_key, 'UTF8'), encode(response, 'base64'))), '[]')
    FROM (SELECT * FROM session_lock_messages WHERE message_key = ANY (message_keys) OFFSET 0) AS known
    WHERE status IN ('completed', 'dead') AND (expires_at IS NULL OR expires_at > clock_timestamp())
  );
END $$;

-- Heartbeats. The answer: the numbers (from 1) of the rows that are still in these hands.
CREATE OR REPLACE FUNCTION session_lock_renew(
  lock_wait_ms integer, row_keys bytea[], owners text[], tokens bigint[], lease_micros bigint[]
) RETURNS json LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  renewed json;
BEGIN
  PERFORM session_lock_begin(lock_wait_ms);
  -- In a statement of its own: the clock below must not be from before a wait.
  PERFORM 1 FROM session_lock_sessions WHERE session_key = ANY (row_keys) ORDER BY session_key FOR UPDATE;
  WITH alive AS (
    UPDATE session_lock_sessions AS held
    SET renewed_at = clock_timestamp(), expires_at = clock_timestamp() + w.lease * interval '1 microsecond'
    FROM unnest(row_keys, owners, tokens, lease_micros) WITH ORDINALITY AS w (key, owner, token, lease, place)
    WHERE held.session_key = w.key AND held.owner = w.owner AND held.fencing_token = w.token
    RETURNING w.place
  )
  SELECT coalesce(json_agg(place), '[]') INTO renewed FROM alive;
  RETURN renewed;
END $$;

-- What settlements mean for their sessions' queues, whose backlogs are locked. Those of `broken` mean nothing.
CREATE OR REPLACE FUNCTION session_lock_step(
  step_keys bytea[], step_settlements integer[], steps text[], after_micros bigint[], broken integer[]
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  moment CONSTANT timestamptz := clock_timestamp();
BEGIN
  DELETE FROM session_lock_queued AS line
  USING unnest(step_keys, step_settlements, steps) AS w (key, settlement, step), session_lock_backlogs AS backlog
  WHERE w.step = 'go-on' AND w.settlement <> ALL (broken) AND backlog.session_key = w.key
    AND line.session_key = w.key AND line.sequence BETWEEN backlog.first_sequence AND backlog.taken_through;
  DELETE FROM session_lock_backlogs AS backlog
  USING unnest(step_keys, step_settlements, steps) AS w (key, settlement, step)
  WHERE w.step = 'go-on' AND w.settlement <> ALL (broken) AND backlog.session_key = w.key
    AND backlog.last_sequence <= backlog.taken_through;
  UPDATE session_lock_backlogs AS backlog SET
    due_at = CASE WHEN w.step <> 'stop' THEN moment + w.after * interval '1 microsecond' END,
    since = CASE w.step WHEN 'go-on' THEN moment ELSE since END,
    attempts = CASE w.step WHEN 'go-on' THEN 0 WHEN 'give-back' THEN greatest(attempts - 1, 0) ELSE attempts END,
    first_sequence = CASE w.step WHEN 'go-on' THEN coalesce(taken_through + 1, first_sequence) ELSE first_sequence END,
    taken_through = NULL
  FROM unnest(step_keys, step_settlements, steps, after_micros) AS w (key, settlement, step, after)
  WHERE w.settlement <> ALL (broken) AND backlog.session_key = w.key;
END $$;

-- Ends leases. The first group of arrays has one element for each row held, the second one for each message
-- to be written, both sorted by their keys; the third one for each step of a queue; all name their settlement by its
-- number. The answer is null where all were settled and nobody waits for any; otherwise [lost, waited for], the
-- numbers of each. Row by row, as claims.
CREATE OR REPLACE FUNCTION session_lock_settle(
  lock_wait_ms integer, settlement_count integer,
  row_keys bytea[], row_owners text[], row_tokens bigint[], row_settlements integer[],
  message_keys bytea[], message_settlements integer[], providers text[], devices text[], ids text[],
  session_keys bytea[], statuses text[], owners text[], nodes text[], tokens bigint[], errors text[],
  responses bytea[], retention_micros bigint[],
  step_keys bytea[], step_settlements integer[], steps text[], after_micros bigint[]
) RETURNS json LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  moment timestamptz;
  is_contended boolean;
  broken integer[] := '{}';
  repeated integer[];
  waited_for bytea[];
  contended_settlements integer[] := '{}';
BEGIN
  PERFORM session_lock_begin(lock_wait_ms);
  IF cardinality(step_keys) > 0 THEN
    PERFORM 1 FROM session_lock_backlogs WHERE session_key = ANY (step_keys) ORDER BY session_key FOR UPDATE;
  END IF;
  IF cardinality(row_keys) > settlement_count THEN
    broken := session_lock_broken(row_keys, row_owners, row_tokens, row_settlements);
  END IF;

  FOR place IN 1 .. cardinality(row_keys) LOOP
    CONTINUE WHEN row_settlements[place] = ANY (broken);
    DELETE FROM session_lock_sessions
      WHERE session_key = row_keys[place] AND owner = row_owners[place] AND fencing_token = row_tokens[place]
      RETURNING contended INTO is_contended;
    IF NOT FOUND THEN
      broken := broken || row_settlements[place];
    ELSIF is_contended THEN
      waited_for := waited_for || row_keys[place];
      contended_settlements := contended_settlements || row_settlements[place];
    END IF;
  END LOOP;

  -- A repeat whose first try had arrived: only this lease's own settlement puts its owner and token on a message.
  IF cardinality(broken) > 0 THEN
    SELECT array_agg(DISTINCT w.settlement) INTO repeated
      FROM unnest(message_keys, message_settlements, owners, tokens) AS w (key, settlement, owner, token)
      CROSS JOIN LATERAL (SELECT * FROM session_lock_messages WHERE message_key = w.key OFFSET 0) AS written
      WHERE w.settlement = ANY (broken) AND written.owner = w.owner AND written.fencing_token = w.token;
  END IF;

  FOR place IN 1 .. cardinality(message_keys) LOOP
    CONTINUE WHEN message_settlements[place] = ANY (broken);
    moment := clock_timestamp();
    INSERT INTO session_lock_messages AS known (message_key, provider, id_device, message_id, session_key, status,
      owner, node_id, fencing_token, attempts, last_error, response, finished_at, expires_at)
    VALUES (message_keys[place], providers[place], devices[place], ids[place], session_keys[place], statuses[place],
      owners[place], nodes[place], tokens[place], 1, errors[place], responses[place], moment,
      moment + retention_micros[place] * interval '1 microsecond')
    ON CONFLICT (message_key) DO UPDATE SET
      provider = excluded.provider, id_device = excluded.id_device, message_id = excluded.message_id,
      session_key = excluded.session_key, status = excluded.status, owner = excluded.owner,
      node_id = excluded.node_id, fencing_token = excluded.fencing_token, attempts = known.attempts + 1,
      last_error = excluded.last_error, response = excluded.response, finished_at = excluded.finished_at,
      expires_at = excluded.expires_at
    -- Under two sessions, somebody else may have completed it meanwhile; a failure takes nothing of that back. Nor does
    -- a direct one take a message out of the queue.
    WHERE excluded.status = 'completed' OR NOT (
      known.status IN ('completed', 'dead') AND (known.expires_at IS NULL OR known.expires_at > clock_timestamp())
      OR known.status = 'queued' AND excluded.status = 'failed');
  END LOOP;

  IF cardinality(step_keys) > 0 THEN
    PERFORM session_lock_step(step_keys, step_settlements, steps, after_micros, broken);
  END IF;

  IF waited_for IS NULL AND cardinality(broken) = 0 THEN
    RETURN NULL;
  END IF;
  PERFORM session_lock_tell(waited_for);
  RETURN json_build_array(
    ARRAY(SELECT number FROM unnest(broken) AS lost (number) WHERE repeated IS NULL OR number <> ALL (repeated)),
    contended_settlements
  );
END $$;

-- Which of these settlements have lost one of their rows. Locks the rows, without which nothing can be said of several
-- together.
CREATE OR REPLACE FUNCTION session_lock_broken(
  row_keys bytea[], row_owners text[], row_tokens bigint[], row_settlements integer[]
) RETURNS integer[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  broken integer[] := '{}';
BEGIN
  FOR place IN 1 .. cardinality(row_keys) LOOP
    PERFORM 1 FROM session_lock_sessions
      WHERE session_key = row_keys[place] AND owner = row_owners[place] AND fencing_token = row_tokens[place]
      FOR UPDATE;
    IF NOT FOUND THEN
      broken := broken || row_settlements[place];
    END IF;
  END LOOP;
  RETURN broken;
END $$;

-- Tells whoever listens that rows are free. Only of rows that somebody waits for: a notification makes
-- commits wait for each other.
CREATE OR REPLACE FUNCTION session_lock_tell(row_keys bytea[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF row_keys IS NOT NULL THEN
    PERFORM pg_notify(lower('session_lock_released'), encode(key, 'hex')) FROM unnest(row_keys) AS w (key);
  END IF;
END $$;

-- Rows as people see them; times in microseconds since 1970.
CREATE OR REPLACE FUNCTION session_lock_session_row(held session_lock_sessions) RETURNS json LANGUAGE sql VOLATILE
AS $$
  SELECT json_build_array(convert_from(held.session_key, 'UTF8'), held.id_prospect, held.id_device, held.owner,
    held.node_id, held.message_ids, held.fencing_token, session_lock_micros(held.locked_at),
    session_lock_micros(held.renewed_at), session_lock_micros(held.expires_at), held.contended,
    held.expires_at <= clock_timestamp(), held.strategy)
$$;

-- Forced release: the rows are marked stale and their owner is cleared; of live ones only where it is not for stale
-- ones alone. The answer: the rows as they were.
CREATE OR REPLACE FUNCTION session_lock_release(lock_wait_ms integer, row_keys bytea[], only_stale boolean)
RETURNS json LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  found_rows json;
  waited_for bytea[];
BEGIN
  PERFORM session_lock_begin(lock_wait_ms);
  PERFORM 1 FROM session_lock_sessions WHERE session_key = ANY (row_keys) ORDER BY session_key FOR UPDATE;
  IF only_stale THEN
    SELECT array_agg(session_key) INTO row_keys FROM session_lock_sessions
      WHERE session_key = ANY (row_keys) AND owner IS NOT NULL AND expires_at <= clock_timestamp();
  END IF;
  SELECT coalesce(json_agg(session_lock_session_row(held)), '[]'), array_agg(session_key) FILTER (WHERE contended)
    INTO found_rows, waited_for
    FROM session_lock_sessions AS held WHERE session_key = ANY (row_keys);
  UPDATE session_lock_sessions SET owner = NULL, expires_at = least(expires_at, clock_timestamp())
    WHERE session_key = ANY (row_keys);
  PERFORM session_lock_tell(waited_for);
  RETURN found_rows;
END $$;

INSERT INTO session_lock_migrations (version, name, applied_at) VALUES (2, '0002_functions', clock_timestamp())
  ON CONFLICT (version) DO NOTHING;
