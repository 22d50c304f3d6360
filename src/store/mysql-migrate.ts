/** Makes the tables: one process at a time, under a lock of the server's, on a connection of its own. */
import { pending, readMigrations } from './migrate.ts'
import { createLink, type Query, type Source } from './mysql-connection.ts'
import type { TableNames } from './mysql-statements.ts'
import { tableNames } from './mysql-statements.ts'
import { integer } from './mysql-values.ts'
import { StoreError } from './store.ts'

/** How long a node waits for another one that makes the tables, seconds. */
const LOCK_WAIT_S = 30
/** How long making the tables may take in all: an index on a large table takes its time. */
const MIGRATE_LIMIT_MS = 10 * 60_000

/** Applies what is not applied yet. Returns the names of what it applied. */
export async function migrateTables(source: Source, tablePrefix: string, connectMs: number): Promise<string[]> {
  const names = tableNames(tablePrefix)
  const migrations = await readMigrations('mysql', tablePrefix)
  const link = createLink(source, { callMs: MIGRATE_LIMIT_MS, connectMs, statementMs: 0 })
  try {
    return await link.transaction(async (query) => {
      if (pending(migrations, await appliedVersions(query, names)).length === 0) return []
      await lock(query, names)
      const missing = pending(migrations, await appliedVersions(query, names))
      for (const sql of missing.flatMap((migration) => migration.statements)) await query({ sql, values: [] })
      return missing.map((migration) => migration.name)
    })
  } finally {
    // The lock goes with the connection, on any outcome.
    await link.close()
  }
}

/** The versions in the ledger; none where there is no ledger. */
export async function appliedVersions(query: Query, { migrations }: TableNames): Promise<number[]> {
  const ledger = await query({ sql: 'SHOW TABLES LIKE ?', values: [migrations.replaceAll('_', '\\_')] })
  if (ledger.rows.length === 0) return []
  const { rows } = await query({ sql: `SELECT version FROM ${migrations}`, values: [] })
  return rows.map(([version]) => integer(version))
}

async function lock(query: Query, { migrations }: TableNames): Promise<void> {
  // Hashed, since MySQL takes no lock name of more than 64 characters.
  const { rows } = await query({
    sql: `SELECT GET_LOCK(SHA1(CONCAT(DATABASE(), '.', ?)), ${LOCK_WAIT_S})`,
    values: [migrations],
  })
  if (integer(rows[0]?.[0]) === 1) return
  throw new StoreError(
    'conflict',
    `session-lock: another process has been making the tables for ${LOCK_WAIT_S} s; try again when it is done`,
  )
}
