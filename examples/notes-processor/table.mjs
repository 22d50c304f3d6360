/** The table of notes. Its status says what has happened to a note; who has it in hand is a lease of session-lock. */

export const TABLE = 'notes_processor_notes'

const COLUMNS = `
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id text NOT NULL,
  body text NOT NULL,
  status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'processing', 'completed', 'failed')),
  summary text,
  error text,
  -- Who had it in hand last, and how often it was begun.
  node text,
  attempts integer NOT NULL DEFAULT 0,
  -- That of the lease under which the row was written last: whoever comes with a smaller one is too late.
  fencing_token bigint NOT NULL DEFAULT 0`

/** Not for two processes at once: Postgres answers one of them with an error. */
export async function createTable(pool) {
  await pool.query(`CREATE TABLE IF NOT EXISTS ${TABLE} (${COLUMNS})`)
  // Work is looked for in here: completed notes, which are soon the most, are not in it.
  await pool.query(
    `CREATE INDEX IF NOT EXISTS ${TABLE}_open ON ${TABLE} (user_id, id) WHERE status IN ('pending', 'processing')`,
  )
}

export async function dropTable(pool) {
  await pool.query(`DROP TABLE IF EXISTS ${TABLE}`)
}

export async function addNotes(pool, userId, bodies) {
  const { rows } = await pool.query(
    `INSERT INTO ${TABLE} (user_id, body) SELECT $1, body FROM unnest($2::text[]) AS given (body) RETURNING *`,
    [userId, bodies],
  )
  return rows
}
