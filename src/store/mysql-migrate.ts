/**
 * Makes the tables, on a connection of its own: one process at a time, under a lock of the server's.
 *
 * A Galera cluster has no such lock: its nodes' own know nothing of each other, and so several may do this at
 * once. They meet statement by statement, since the cluster puts these in one order: whoever comes second finds
 * each done already, and the ledger's row is written by one of them. So, too, a crash between two statements is
 * mended by the next start.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Migration, pending } from './migrate.ts'
import { createLink, type Link, type Query } from './mysql-connection.ts'
import { isDoneAlready, isMissingTable } from './mysql-errors.ts'
import { isGaleraNode } from './mysql-galera.ts'
import type { Source } from './mysql-source.ts'
import type { TableNames } from './mysql-statements.ts'
import { integer } from './mysql-values.ts'
import { StoreError } from './store.ts'

/** How long a node waits for another one that makes the tables. */
const WAIT_MS = 30_000
/** How long making the tables may take in all: an index on a large table takes its time. */
const MIGRATE_LIMIT_MS = 10 * 60_000
/** The longest rest after a conflict. */
const REST_MS = 100

/** Applies those that are not applied yet. Returns the names of what it applied. */
export async function applyMigrations(
  source: Source,
  names: TableNames,
  migrations: readonly Migration[],
  connectMs: number,
): Promise<string[]> {
  const link = createLink(source, { callMs: MIGRATE_LIMIT_MS, connectMs, statementMs: 0 })
  const applied: string[] = []
  try {
    const missing = await throughConflicts(link, async (query) => {
      const some = pending(migrations, await appliedVersions(query, names)).length > 0
      if (some && !(await isGaleraNode(query))) await lock(query, names)
      return some ? pending(migrations, await appliedVersions(query, names)) : []
    })
    for (const migration of missing) {
      if (await throughConflicts(link, (query) => apply(query, migration))) applied.push(migration.name)
    }
    return applied
  } finally {
    // The lock goes with the connection, on any outcome.
    await link.close()
  }
}

/** Its last statement writes the ledger's row. false: another process has written it. */
async function apply(query: Query, { statements }: Migration): Promise<boolean> {
  let written = 0
  for (const sql of statements) {
    try {
      written = (await query({ sql, values: [] })).affectedRows
    } catch (error) {
      if (!isDoneAlready(error)) throw error
    }
  }
  return written === 1
}

/** Each work in a transaction of its own; who met another one tries again. */
async function throughConflicts<Value>(link: Link, work: (query: Query) => Promise<Value>): Promise<Value> {
  const until = performance.now() + WAIT_MS
  for (;;) {
    try {
      return await link.transaction(work)
    } catch (error) {
      const isConflict = error instanceof StoreError && error.kind === 'conflict'
      if (!isConflict || performance.now() > until) throw error
    }
    await sleep(Math.random() * REST_MS)
  }
}

/** The versions in the ledger; none where there is no ledger. */
export async function appliedVersions(query: Query, { migrations }: TableNames): Promise<number[]> {
  try {
    // Not by SHOW TABLES, which on a cluster does not wait for what other nodes have done.
    const { rows } = await query({ sql: `SELECT version FROM ${migrations}`, values: [] })
    return rows.map(([version]) => integer(version))
  } catch (error) {
    if (isMissingTable(error)) return []
    throw error
  }
}

async function lock(query: Query, { migrations }: TableNames): Promise<void> {
  // Hashed, since MySQL takes no lock name of more than 64 characters.
  const { rows } = await query({
    sql: `SELECT GET_LOCK(SHA1(CONCAT(DATABASE(), '.', ?)), ${WAIT_MS / 1000})`,
    values: [migrations],
  })
  if (integer(rows[0]?.[0]) === 1) return
  throw new StoreError(
    'conflict',
    `session-lock: another process has been making the tables for ${WAIT_MS / 1000} s; try again when it is done`,
  )
}
