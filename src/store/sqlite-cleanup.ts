/** The clean-up of the SQLite store: what is to go is found without the write lock, then deleted by key. */
import { type CleanUp, createCleanUp } from './cleanup.ts'
import type { SqliteConnection, SqliteRow } from './sqlite-driver.ts'

const IS_EXPIRED = `status IN ('completed', 'failed', 'dead') AND expires_at <= ?`
const IS_ABANDONED = 'expires_at <= ?'

/** Nothing is lost where a power failure brings a row back, so the disk is not waited for. */
export function sqliteCleanUp(tablePrefix: string): CleanUp<SqliteConnection> {
  const sessions = `${tablePrefix}sessions`
  const messages = `${tablePrefix}messages`

  function remove(connection: SqliteConnection, deletion: string, keys: readonly string[], before: number) {
    return connection.writeLoosely(() =>
      keys.reduce((removed, key) => removed + connection.run(deletion, key, before), 0),
    )
  }

  return createCleanUp({
    find: (connection, { limit, abandonedAfterMs }) =>
      connection.read(() => {
        const found = (table: string, key: string, condition: string, before: number) =>
          connection.all(`SELECT ${key} FROM ${table} WHERE ${condition} LIMIT ?`, before, limit)
        const abandoned = found(sessions, 'session_key', IS_ABANDONED, Date.now() - abandonedAfterMs)
        const expired = found(messages, 'message_key', IS_EXPIRED, Date.now())
        return { sessions: keysOf(abandoned, 'session_key'), messages: keysOf(expired, 'message_key') }
      }),
    sweep: (connection, { after, limit }) =>
      connection.read(() => {
        const sql = `SELECT message_key, ${IS_EXPIRED} AS is_expired FROM ${messages}
          WHERE message_key > ? ORDER BY message_key LIMIT ?`
        const rows = connection.all(sql, Date.now(), after, limit)
        const expired = rows.filter((row) => Number(row['is_expired']) === 1)
        return {
          passed: rows.length,
          last: keysOf(rows, 'message_key').at(-1),
          messages: keysOf(expired, 'message_key'),
        }
      }),
    removeSessions: (connection, keys, abandonedAfterMs) => {
      const deletion = `DELETE FROM ${sessions} WHERE session_key = ? AND ${IS_ABANDONED}`
      return remove(connection, deletion, keys, Date.now() - abandonedAfterMs)
    },
    removeMessages: (connection, keys) =>
      remove(connection, `DELETE FROM ${messages} WHERE message_key = ? AND ${IS_EXPIRED}`, keys, Date.now()),
  })
}

const keysOf = (rows: readonly SqliteRow[], column: string): string[] => rows.map((row) => String(row[column]))
