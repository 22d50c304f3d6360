/** The clean-up of the MySQL store: what is to go is found without locks, then deleted by key. */
import { type CleanUp, createCleanUp } from './cleanup.ts'
import { sorted } from './key-order.ts'
import type { Query } from './mysql-connection.ts'
import { type Statement, type TableNames, toMicros } from './mysql-statements.ts'
import { integer, text } from './mysql-values.ts'
import type { CleanupOptions } from './store.ts'

// `NOW` here: it can use the index, and that it may be behind only spares a row until the next time.
const IS_EXPIRED = `expires_at <= NOW(6) AND status NOT IN ('queued', 'processing')`
const IS_ABANDONED = 'expires_at <= NOW(6) - INTERVAL ? MICROSECOND'

/**
 * Abandoned rows and expired messages go each in a transaction of its own, so that locks of one are not held during
 * the other; and so do rows to be locked that nobody has locked: whoever wants one again makes it again.
 */
export function mysqlCleanUp(names: TableNames): CleanUp<Query> {
  return createCleanUp({
    async find(query: Query, { limit, abandonedAfterMs }) {
      const { rows } = await query({
        sql: `(SELECT 0 AS kind, session_key FROM ${names.sessions} WHERE ${IS_ABANDONED} ORDER BY expires_at LIMIT ?)
          UNION ALL (SELECT 1, message_key FROM ${names.messages} WHERE ${IS_EXPIRED} ORDER BY expires_at LIMIT ?)`,
        values: [toMicros(abandonedAfterMs), limit, limit],
      })
      const keysOf = (wanted: number) => rows.flatMap(([kind, key]) => (integer(kind) === wanted ? [text(key)] : []))
      return { sessions: keysOf(0), messages: keysOf(1) }
    },
    async sweep(query, { after, limit }) {
      const { rows } = await query({
        sql: `SELECT message_key, ${IS_EXPIRED} FROM ${names.messages} FORCE INDEX (PRIMARY)
          WHERE message_key > ? ORDER BY message_key LIMIT ?`,
        values: [after, limit],
      })
      const messages = rows.flatMap(([key, isExpired]) => (integer(isExpired) === 1 ? [text(key)] : []))
      return { passed: rows.length, last: rows.length > 0 ? text(rows.at(-1)?.[0]) : undefined, messages }
    },
    removeSessions: (query, keys, abandonedAfterMs) =>
      remove(query, deleteAbandonedSessions(names, keys, abandonedAfterMs)),
    removeMessages: (query, keys) => remove(query, deleteExpiredMessages(names, keys)),
    async removeOthers(query, options) {
      const keys = (await query(lockUnused(names, options))).rows.map(([key]) => text(key))
      if (keys.length > 0) await remove(query, deleteLocks(names, keys))
      return keys.length === options.limit
    },
  })
}

/** What comes after it in this call must not hold its locks. */
async function remove(query: Query, deletion: Statement): Promise<number> {
  const { affectedRows } = await query(deletion)
  await query({ sql: 'COMMIT', values: [] })
  return affectedRows
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
