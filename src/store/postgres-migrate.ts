/** Makes the tables and functions: one process at a time, under an advisory lock, on a connection of its own. */
import { pending, readMigrations } from './migrate.ts'
import { createLink, type Query, type Source } from './postgres-connection.ts'
import { type Names, namesUnder } from './postgres-values.ts'
import { StoreError } from './store.ts'

/** How long a node waits for another one that makes the tables. */
const LOCK_WAIT_MS = 30_000
/** How long making the tables may take in all: an index on a large table takes its time. */
const MIGRATE_LIMIT_MS = 10 * 60_000

/** Applies what is not applied yet, all of it or nothing. Returns the names of what it applied. */
export async function migrateTables(source: Source, tablePrefix: string, connectMs: number): Promise<string[]> {
  const names = namesUnder(tablePrefix)
  const migrations = await readMigrations('postgres', tablePrefix)
  const link = createLink(source, { callMs: MIGRATE_LIMIT_MS, connectMs })
  try {
    return await link.call(async (query) => {
      if (pending(migrations, await appliedVersions(query, names)).length === 0) return []
      await requireUtf8(query)
      await query({ sql: 'BEGIN ISOLATION LEVEL READ COMMITTED' })
      await lock(query, names)
      const missing = pending(migrations, await appliedVersions(query, names))
      for (const sql of missing.flatMap((migration) => migration.statements)) await query({ sql })
      await query({ sql: 'COMMIT' })
      return missing.map((migration) => migration.name)
    })
  } finally {
    // An unfinished transaction, and with it the lock, goes with the connection.
    await link.close()
  }
}

/** The versions in the ledger; none where there is no ledger. */
export async function appliedVersions(query: Query, { migrations }: Names): Promise<number[]> {
  // From the catalog itself: `to_regclass` may still answer from a cache that is older than the wait for the lock.
  const [ledger] = await query({
    sql: `SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
      WHERE relname = lower($1) AND nspname = ANY (current_schemas(false))`,
    values: [migrations],
  })
  if (!ledger) return []
  const rows = await query({ sql: `SELECT version FROM ${migrations}` })
  return rows.map(([version]) => Number(version))
}

/** For the transaction, not the session, so that it holds behind a pooler too. */
async function lock(query: Query, { migrations }: Names): Promise<void> {
  await query({ sql: `SET LOCAL lock_timeout = ${LOCK_WAIT_MS}` })
  await query({ sql: 'SET LOCAL client_min_messages = warning' })
  await query({ sql: 'SELECT pg_advisory_xact_lock(hashtextextended(lower($1), 0))', values: [migrations] })
}

async function requireUtf8(query: Query): Promise<void> {
  const [row] = await query({ sql: 'SHOW server_encoding' })
  if (row?.[0] === 'UTF8') return
  throw new StoreError(
    'setup',
    `session-lock: the database's encoding is ${row?.[0]}, which does not hold every text. ` +
      "Create it with: CREATE DATABASE <name> ENCODING 'UTF8' TEMPLATE template0",
  )
}
