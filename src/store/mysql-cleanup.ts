/** The clean-up of the MySQL store: what is to go is found without locks, then deleted by key. */
import type { Query } from './mysql-connection.ts'
import { type Statement, sorted, type TableNames, toMicros } from './mysql-statements.ts'
import { integer, text } from './mysql-values.ts'
import type { CleanupOptions, CleanupReport } from './store.ts'

// `NOW` here: it can use the index, and that it may be behind only spares a row until the next time.
const IS_EXPIRED = `expires_at <= NOW(6) AND status NOT IN ('queued', 'processing')`
const IS_ABANDONED = 'expires_at <= NOW(6) - INTERVAL ? MICROSECOND'

/**
 * So many rows are found at once, for the calls that follow: what was deleted stands in the index until the server
 * purges it, and every search has to pass it.
 */
const FOUND_AT_ONCE = 2000

/** Removes one batch of rows, on the store's own connection. */
export type CleanUp = (query: Query, options: CleanupOptions) => Promise<CleanupReport>

/**
 * Removes abandoned rows and expired messages, each in a transaction of its own, so that locks of one are not held
 * during the other; and, when it looks for them, rows to be locked that nobody has locked: whoever wants one again
 * makes it again.
 */
export function createCleanUp(names: TableNames): CleanUp {
  let abandoned: readonly string[] = []
  let expired: readonly string[] = []
  let mayFindMore = false

  async function find(query: Query, { abandonedAfterMs, limit }: CleanupOptions): Promise<void> {
    const most = Math.max(limit, FOUND_AT_ONCE)
    const { rows } = await query({
      sql: `(SELECT 0 AS kind, session_key FROM ${names.sessions} WHERE ${IS_ABANDONED} ORDER BY expires_at LIMIT ?)
        UNION ALL (SELECT 1, message_key FROM ${names.messages} WHERE ${IS_EXPIRED} ORDER BY expires_at LIMIT ?)`,
      values: [toMicros(abandonedAfterMs), most, most],
    })
    const keysOf = (wanted: number) => rows.flatMap(([kind, key]) => (integer(kind) === wanted ? [text(key)] : []))
    abandoned = keysOf(0)
    expired = keysOf(1)
    const unused = await removeUnused(query, names, { abandonedAfterMs, limit })
    mayFindMore = abandoned.length === most || expired.length === most || unused === limit
  }

  return async (query, options) => {
    const { limit, abandonedAfterMs } = options
    if (abandoned.length + expired.length === 0) await find(query, options)
    const [old, past] = [abandoned.slice(0, limit), expired.slice(0, limit)]
    const sessions = await remove(query, old, deleteAbandonedSessions(names, old, abandonedAfterMs))
    abandoned = abandoned.slice(old.length)
    const messages = await remove(query, past, deleteExpiredMessages(names, past))
    expired = expired.slice(past.length)
    return { sessions, messages, more: mayFindMore || abandoned.length + expired.length > 0 }
  }
}

/** Whoever calls commits what comes last; what was removed before that must not wait for it. */
async function remove(query: Query, keys: readonly string[], deletion: Statement): Promise<number> {
  if (keys.length === 0) return 0
  const { affectedRows } = await query(deletion)
  await query({ sql: 'COMMIT', values: [] })
  return affectedRows
}

async function removeUnused(query: Query, names: TableNames, options: CleanupOptions): Promise<number> {
  const keys = (await query(lockUnused(names, options))).rows.map(([key]) => text(key))
  return remove(query, keys, deleteLocks(names, keys))
}

/** Locked rows are passed over, and these stay locked until they are deleted. Not the young ones: they are wanted. */
function lockUnused({ locks }: TableNames, { limit, abandonedAfterMs }: CleanupOptions): Statement {
  return {
    sql: `SELECT session_key FROM ${locks} FORCE INDEX (${locks}_age)
      WHERE created_at <= UTC_TIMESTAMP(6) - INTERVAL ? MICROSECOND ORDER BY created_at LIMIT ? FOR UPDATE SKIP LOCKED`,
    values: [toMicros(abandonedAfterMs), limit],
  }
}

/** Removes rows to be locked, which must be locked. */
function deleteLocks({ locks }: TableNames, keys: readonly string[]): Statement {
  return {
    sql: `DELETE unused FROM ${locks} AS unused FORCE INDEX (PRIMARY) WHERE session_key IN (?) AND created_at IS NOT NULL`,
    values: [sorted(keys)],
  }
}

/** With the condition repeated: a row may have been renewed since it was found. */
export function deleteExpiredMessages({ messages }: TableNames, keys: readonly string[]): Statement {
  return {
    sql: `DELETE old FROM ${messages} AS old FORCE INDEX (PRIMARY) WHERE message_key IN (?) AND ${IS_EXPIRED}`,
    values: [sorted(keys)],
  }
}

/** With the condition repeated: a row may have been renewed since it was found. */
export function deleteAbandonedSessions(
  { sessions }: TableNames,
  keys: readonly string[],
  abandonedAfterMs: number,
): Statement {
  return {
    sql: `DELETE old FROM ${sessions} AS old FORCE INDEX (PRIMARY) WHERE session_key IN (?) AND ${IS_ABANDONED}`,
    values: [sorted(keys), toMicros(abandonedAfterMs)],
  }
}
