/** The tables of the SQLite store: its statements, and how a row of theirs reads. */
import { completedMessage, type HeldSession, type Tables } from './local.ts'
import { decodeMessageKeys, encodeMessageKeys, type StoredMessage, type StoredSession } from './rows.ts'
import type { SqliteConnection, SqliteRow, SqliteValue } from './sqlite-driver.ts'
import type { CompletedMessage, MessageFilter, MessageStatus, SessionFilter, StoreStats } from './store.ts'

/** What the store does with its tables; all of it inside `read` or `write` of the connection. */
export interface SqliteTables extends Tables {
  completed(key: string, now: number): CompletedMessage | undefined
  largestToken(): number
  putLargestToken(token: number): void
  /** Empty where the ledger is missing. */
  appliedVersions(): number[]
  listSessions(filter: SessionFilter, now: number): StoredSession[]
  listMessages(filter: MessageFilter): StoredMessage[]
  count(now: number): StoreStats
}

const SESSION_COLUMNS =
  'session_key, id_prospect, id_device, owner, node_id, message_ids, fencing_token, locked_at, renewed_at, expires_at, contended'

const MESSAGE_COLUMNS =
  'message_key, provider, id_device, message_id, session_key, status, owner, node_id, fencing_token, attempts, last_error, response, started_at, finished_at, expires_at'

/** Binds the statements to a connection. They are prepared when first used, since the tables may not be there yet. */
export function sqliteTables(connection: SqliteConnection, tablePrefix: string): SqliteTables {
  const sessions = `${tablePrefix}sessions`
  const messages = `${tablePrefix}messages`
  const meta = `${tablePrefix}meta`
  const ledger = `${tablePrefix}migrations`
  const selectSession = `SELECT ${SESSION_COLUMNS} FROM ${sessions} WHERE session_key = ?`
  const selectHeld = `SELECT owner, fencing_token, locked_at, contended FROM ${sessions} WHERE session_key = ?`
  const selectMessage = `SELECT ${MESSAGE_COLUMNS} FROM ${messages} WHERE message_key = ?`
  const putSession = upsert(sessions, SESSION_COLUMNS)
  const putMessage = upsert(messages, MESSAGE_COLUMNS)
  const selectLargestToken = `SELECT value FROM ${meta} WHERE name = 'largest_token'`
  const putMeta = upsert(meta, 'name, value')
  const deleteSession = `DELETE FROM ${sessions} WHERE session_key = ?`

  const tables: Tables = {
    session(key) {
      const row = connection.get(selectSession, key)
      return row && toSession(row)
    },
    held(key) {
      const row = connection.get(selectHeld, key)
      return row && toHeld(row)
    },
    putSession: (row) => void connection.run(putSession, ...fromSession(row)),
    removeSession: (key) => void connection.run(deleteSession, key),
    message(key) {
      const row = connection.get(selectMessage, key)
      return row && toMessage(row)
    },
    putMessage: (row) => void connection.run(putMessage, ...fromMessage(row)),
  }

  return {
    ...tables,
    completed: (key, now) => completedMessage(tables, key, now),
    largestToken: () => Number(connection.get(selectLargestToken)?.['value'] ?? 0),
    putLargestToken: (token) => void connection.run(putMeta, 'largest_token', token),
    appliedVersions() {
      const exists = connection.get("SELECT 1 AS found FROM sqlite_master WHERE type = 'table' AND name = ?", ledger)
      return exists ? connection.all(`SELECT version FROM ${ledger}`).map((row) => Number(row['version'])) : []
    },
    listSessions({ keys, stale, limit }, now) {
      const where = conditions([
        keys ? [isOneOf('session_key'), JSON.stringify(keys)] : ['owner IS NOT NULL'],
        stale !== undefined && ['(expires_at <= ?) = ?', now, stale ? 1 : 0],
      ])
      const sql = `SELECT ${SESSION_COLUMNS} FROM ${sessions} ${where.sql} ORDER BY locked_at LIMIT ?`
      return connection.all(sql, ...where.values, limit).map(toSession)
    },
    listMessages({ keys, messageIds, about, status, limit }) {
      const where = conditions([
        keys && [isOneOf('message_key'), JSON.stringify(keys)],
        messageIds && [isOneOf('message_id'), JSON.stringify(messageIds)],
        about && [
          '(message_key = ? OR message_id = ? OR session_key = ? OR substr(session_key, ?) = ?)',
          ...[about.name, about.name, about.name, -[...about.sessionEnding].length, about.sessionEnding],
        ],
        status !== undefined && ['status = ?', status],
      ])
      // Which ones is found in the index alone; only those few are read.
      const order = 'ORDER BY finished_at IS NULL DESC, finished_at DESC'
      const latest = `SELECT message_key FROM ${messages} ${where.sql} ${order} LIMIT ?`
      const sql = `SELECT ${MESSAGE_COLUMNS}, received_at FROM ${messages} WHERE message_key IN (${latest}) ${order}`
      return connection.all(sql, ...where.values, limit).map(toMessage)
    },
    count(now) {
      const nodes = connection.all(
        `SELECT node_id, count(*) AS held, sum(expires_at <= ?) AS stale FROM ${sessions} WHERE owner IS NOT NULL GROUP BY node_id`,
        now,
      )
      const statuses = connection.all(`SELECT status, count(*) AS found FROM ${messages} GROUP BY status`)
      return toStats(nodes, statuses)
    },
  }
}

/** The same tables, for one batch: a row is read from the file once, however often the decision looks at it. */
export function readingOnce(tables: Tables): Tables {
  const sessions = new Map<string, StoredSession | undefined>()
  return {
    ...tables,
    session(key) {
      if (!sessions.has(key)) sessions.set(key, tables.session(key))
      return sessions.get(key)
    },
    putSession(row) {
      sessions.set(row.key, row)
      tables.putSession(row)
    },
    removeSession(key) {
      sessions.set(key, undefined)
      tables.removeSession(key)
    },
  }
}

/** The values come as one JSON array, so that the statement is the same for any number of them. */
function isOneOf(column: string): string {
  return `${column} IN (SELECT value FROM json_each(?))`
}

type Condition = readonly [sql: string, ...values: SqliteValue[]]

function conditions(candidates: ReadonlyArray<Condition | false | undefined>): { sql: string; values: SqliteValue[] } {
  const wanted = candidates.filter((candidate) => candidate !== false && candidate !== undefined)
  return {
    sql: wanted.length === 0 ? '' : `WHERE ${wanted.map(([sql]) => sql).join(' AND ')}`,
    values: wanted.flatMap(([, ...values]) => values),
  }
}

function upsert(table: string, columns: string): string {
  const names = columns.split(', ')
  const changes = names.slice(1).map((name) => `${name} = excluded.${name}`)
  return `INSERT INTO ${table} (${columns}) VALUES (${names.map(() => '?').join(', ')})
    ON CONFLICT (${names[0]}) DO UPDATE SET ${changes.join(', ')}`
}

function fromSession(row: StoredSession): SqliteValue[] {
  return [
    row.key,
    row.prospect,
    row.device,
    row.owner,
    row.nodeId,
    encodeMessageKeys(row.messageKeys),
    row.fencingToken,
    row.lockedAt,
    row.renewedAt,
    row.expiresAt,
    row.contended ? 1 : 0,
  ]
}

function toHeld(row: SqliteRow): HeldSession {
  return {
    owner: text(row['owner']),
    fencingToken: Number(row['fencing_token']),
    lockedAt: Number(row['locked_at']),
    contended: Number(row['contended']) === 1,
  }
}

function toSession(row: SqliteRow): StoredSession {
  return {
    ...toHeld(row),
    key: String(row['session_key']),
    prospect: text(row['id_prospect']),
    device: text(row['id_device']),
    nodeId: text(row['node_id']),
    messageKeys: decodeMessageKeys(String(row['message_ids'])),
    renewedAt: Number(row['renewed_at']),
    expiresAt: Number(row['expires_at']),
  }
}

function fromMessage(row: StoredMessage): SqliteValue[] {
  return [
    row.key,
    row.provider,
    row.device,
    row.messageId,
    row.sessionKey,
    row.status,
    row.owner,
    row.nodeId,
    row.fencingToken,
    row.attempts,
    row.lastError,
    row.response,
    row.startedAt,
    row.finishedAt,
    row.expiresAt,
  ]
}

function toMessage(row: SqliteRow): StoredMessage {
  return {
    key: String(row['message_key']),
    provider: String(row['provider']),
    device: text(row['id_device']),
    messageId: String(row['message_id']),
    sessionKey: text(row['session_key']),
    status: row['status'] as MessageStatus,
    owner: text(row['owner']),
    nodeId: text(row['node_id']),
    fencingToken: integer(row['fencing_token']),
    attempts: Number(row['attempts']),
    lastError: text(row['last_error']),
    response: row['response'] instanceof Uint8Array ? row['response'] : null,
    receivedAt: integer(row['received_at']),
    startedAt: integer(row['started_at']),
    finishedAt: integer(row['finished_at']),
    expiresAt: integer(row['expires_at']),
  }
}

function toStats(nodes: readonly SqliteRow[], statuses: readonly SqliteRow[]): StoreStats {
  const messages: Record<MessageStatus, number> = { queued: 0, processing: 0, completed: 0, failed: 0, dead: 0 }
  for (const row of statuses) messages[row['status'] as MessageStatus] = Number(row['found'])
  const held = nodes.map((row) => ({
    nodeId: text(row['node_id']),
    sessions: Number(row['held']),
    stale: Number(row['stale']),
  }))
  return {
    sessions: held.reduce((sum, node) => sum + node.sessions, 0),
    staleSessions: held.reduce((sum, node) => sum + node.stale, 0),
    messages,
    nodes: held.flatMap(({ nodeId, ...node }) => (nodeId === null ? [] : [{ nodeId, ...node }])),
  }
}

function text(value: SqliteValue | undefined): string | null {
  return value === null || value === undefined ? null : String(value)
}

/** The user's own database may be set to give every integer as a bigint. */
function integer(value: SqliteValue | undefined): number | null {
  return value === null || value === undefined ? null : Number(value)
}
