/** The clean-up of the Postgres store: what is to go is found without locks, then deleted by key. */
import { type CleanUp, createCleanUp } from './cleanup.ts'
import type { Query } from './postgres-connection.ts'
import { bytes, type Names, toMicros } from './postgres-values.ts'

const IS_EXPIRED = `expires_at <= now() AND status NOT IN ('queued', 'processing')`
const isAbandoned = (micros: '$1' | '$2') => `expires_at <= now() - ${micros}::bigint * interval '1 microsecond'`

/**
 * Abandoned rows and expired messages go each in a transaction of its own. What somebody has locked is left for the
 * next time.
 */
export function postgresCleanUp({ sessions, messages }: Names): CleanUp<Query> {
  const found = (table: string, key: string, condition: string) =>
    `SELECT convert_from(${key}, 'UTF8') FROM ${table} WHERE ${condition} ORDER BY expires_at`
  return createCleanUp({
    async find(query: Query, { limit, abandonedAfterMs }) {
      const old = await query({
        sql: `${found(sessions, 'session_key', isAbandoned('$2'))} LIMIT $1`,
        values: [limit, toMicros(abandonedAfterMs)],
      })
      const past = await query({ sql: `${found(messages, 'message_key', IS_EXPIRED)} LIMIT $1`, values: [limit] })
      return { sessions: keysOf(old), messages: keysOf(past) }
    },
    removeSessions: (query, keys, abandonedAfterMs) =>
      remove(query, deletion(sessions, 'session_key', isAbandoned('$2')), keys, [toMicros(abandonedAfterMs)]),
    removeMessages: (query, keys) => remove(query, deletion(messages, 'message_key', IS_EXPIRED), keys, []),
  })
}

const keysOf = (rows: Awaited<ReturnType<Query>>): string[] => rows.map(([key]) => key ?? '')

/** With the condition repeated: a row may have been renewed since it was found. */
function deletion(table: string, key: string, condition: string): string {
  return `WITH gone AS (
      DELETE FROM ${table} WHERE ${condition} AND ${key} = ANY (ARRAY(
        SELECT ${key} FROM ${table} WHERE ${key} = ANY ($1::bytea[]) AND ${condition} FOR UPDATE SKIP LOCKED
      )) RETURNING 1
    ) SELECT count(*) FROM gone`
}

async function remove(query: Query, sql: string, keys: readonly string[], others: readonly unknown[]): Promise<number> {
  const [row] = await query({ sql, values: [keys.map(bytes), ...others] })
  return Number(row?.[0])
}
