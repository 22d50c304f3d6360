-- What the transaction strategy needs: a mark on the rows that are held that way. The lock itself is an advisory
-- one, which lives as long as the transaction of the handler that holds it.

ALTER TABLE session_lock_sessions ADD COLUMN IF NOT EXISTS strategy text NOT NULL DEFAULT 'lease';

-- Its successor has one parameter more, and would stand beside it; nodes of the last release call that one as well.
DROP FUNCTION IF EXISTS session_lock_claim(integer, bytea[], integer[], integer[], boolean[], text[], text[], text[],
  text[], text[], bigint[], bigint[], bytea[], integer[], bytea[]);

-- A batch of claims: see the file before. A claim of the strategy 'transaction' comes from who holds the advisory locks
-- of its rows, so that what others hold that way has been left behind.
CREATE OR REPLACE FUNCTION session_lock_claim(
  lock_wait_ms integer,
  row_keys bytea[], row_parts integer[], row_claims integer[], wholes boolean[],
  prospects text[], devices text[], owners text[], nodes text[], message_lists text[],
  tokens_above bigint[], lease_micros bigint[],
  message_keys bytea[], message_parts integer[],
  -- Absent in calls of an older release, which knows no queue.
  direct_keys bytea[] DEFAULT NULL,
  -- Absent: all are leases.
  strategies text[] DEFAULT NULL
) RETURNS json LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  begun CONSTANT timestamptz := clock_timestamp();
  moment timestamptz;
  tokens bigint[];
  longest_wait interval;
  waited boolean;
  handled bytea[];
  responses json;
  backlogged bytea[];
  queued json;
  partly integer[];
  outcomes text[];
  row_tokens bigint[];
  rows_seen json;
BEGIN
  PERFORM session_lock_begin(lock_wait_ms);

  -- Inserts the rows that are free, and locks the others without changing them. Sorted, so that all claims
  -- lock in one order. Each row is stamped when its turn comes.
  WITH taken AS (
    INSERT INTO session_lock_sessions AS held (session_key, id_prospect, id_device, owner, node_id, message_ids,
      fencing_token, locked_at, renewed_at, expires_at, strategy)
    SELECT w.key, w.prospect, w.device, w.owner, w.node, w.list,
      greatest(w.above + 1, session_lock_micros(clock_timestamp())), clock_timestamp(), clock_timestamp(),
      clock_timestamp() + w.lease * interval '1 microsecond', coalesce(w.strategy, 'lease')
    FROM unnest(row_keys, prospects, devices, owners, nodes, message_lists, tokens_above, lease_micros, strategies)
      AS w (key, prospect, device, owner, node, list, above, lease, strategy)
    ORDER BY w.key
    ON CONFLICT (session_key) DO UPDATE SET owner = held.owner WHERE false
    RETURNING session_key, fencing_token, locked_at
  ), timed AS (
    SELECT session_key, fencing_token,
      lead(locked_at, 1, clock_timestamp()) OVER (ORDER BY session_key) - locked_at AS took
    FROM taken
  )
  SELECT array_agg(fencing_token ORDER BY session_key), max(took) INTO tokens, longest_wait FROM timed;

  -- From here on everything is locked, so this clock is later than that of any holder before.
  moment := clock_timestamp();
  -- From one row to the next is a moment, unless an insert waited: then its stamp is from before the lock.
  waited := longest_wait > interval '250 microseconds';

  SELECT array_agg(message_key), json_agg(json_build_array(convert_from(message_key, 'UTF8'),
      encode(response, 'base64'))),
      (SELECT array_agg(session_key) FROM session_lock_backlogs WHERE session_key = ANY (direct_keys))
    INTO handled, responses, backlogged
    FROM (SELECT * FROM session_lock_messages WHERE message_key = ANY (message_keys) OFFSET 0) AS known
    WHERE status IN ('completed', 'dead') AND (expires_at IS NULL OR expires_at > moment);

  IF handled IS NULL AND backlogged IS NULL AND NOT waited AND cardinality(tokens) = cardinality(row_keys)
    AND row_parts[cardinality(row_parts)] = cardinality(row_parts)
  THEN
    RETURN json_build_object('tokens', tokens);
  END IF;

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
      bool_and(mine AND locked_at >= begun) OVER same_part AND NOT waited
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

  RETURN json_build_object('rows', rows_seen, 'completed', coalesce(responses, '[]'::json),
    'queued', coalesce(queued, '[]'::json));
END $$;

-- Rows as people see them; times in microseconds since 1970.
CREATE OR REPLACE FUNCTION session_lock_session_row(held session_lock_sessions) RETURNS json LANGUAGE sql VOLATILE
AS $$
  SELECT json_build_array(convert_from(held.session_key, 'UTF8'), held.id_prospect, held.id_device, held.owner,
    held.node_id, held.message_ids, held.fencing_token, session_lock_micros(held.locked_at),
    session_lock_micros(held.renewed_at), session_lock_micros(held.expires_at), held.contended,
    held.expires_at <= clock_timestamp(), held.strategy)
$$;

INSERT INTO session_lock_migrations (version, name, applied_at) VALUES (5, '0005_transactions', clock_timestamp())
  ON CONFLICT (version) DO NOTHING;
