/** Looking inside, and cleaning up: reads without locks, and the statements for what is seldom written. */
import type { Query, Row } from './mysql-connection.ts'
import { IS_HANDLED, micros, type Statement, sorted, type TableNames, toMicros } from './mysql-statements.ts'
import { integer, integerOrNull, milliseconds, millisecondsOrNull, text, textOrNull } from './mysql-values.ts'
import { decodeMessageKeys } from './rows.ts'
import type {
  CleanupOptions,
  CleanupReport,
  CompletedMessage,
  MessageAddress,
  MessageFilter,
  MessageRow,
  MessageStatus,
  SessionFilter,
  SessionRow,
  StoreStats,
  Strategy,
} from './store.ts'

/** Which of these messages are completed and in retention. */
export async function look(
  query: Query,
  { messages }: TableNames,
  wanted: readonly MessageAddress[],
): Promise<CompletedMessage[]> {
  if (wanted.length === 0) return []
  const { rows } = await query({
    sql: `SELECT message_key, response FROM ${messages} FORCE INDEX (PRIMARY)
      WHERE message_key IN (?) AND ${IS_HANDLED}`,
    values: [wanted.map(({ key }) => key)],
  })
  return rows.map(([key, response]) => ({ key: text(key), response: response ?? null }))
}

const SESSION_COLUMNS = `session_key, id_prospect, id_device, owner, node_id, message_ids, fencing_token,
  ${micros('locked_at')}, ${micros('renewed_at')}, ${micros('expires_at')}, contended, expires_at <= SYSDATE(6),
  strategy`

/** The rows as they are, locked. */
export function lockSessions({ sessions }: TableNames, keys: readonly string[]): Statement {
  return {
    sql: `SELECT ${SESSION_COLUMNS} FROM ${sessions} FORCE INDEX (PRIMARY)
      WHERE session_key IN (?) ORDER BY session_key FOR UPDATE`,
    values: [sorted(keys)],
  }
}

/** Forced release. The row stays, so that its token lives on. */
export function markReleased({ sessions }: TableNames, keys: readonly string[]): Statement {
  return {
    sql: `UPDATE ${sessions} FORCE INDEX (PRIMARY) SET owner = NULL, expires_at = LEAST(expires_at, SYSDATE(6))
      WHERE session_key IN (?)`,
    values: [sorted(keys)],
  }
}

/** Runs a statement that selects {@link SESSION_COLUMNS}. */
export async function readSessions(query: Query, statement: Statement): Promise<SessionRow[]> {
  return (await query(statement)).rows.map(sessionRow)
}

function sessionRow(row: Row): SessionRow {
  const [key, prospect, device, owner, nodeId, messageKeys, token, lockedAt, renewedAt, expiresAt] = row
  const [contended, stale, strategy] = row.slice(10)
  return {
    key: text(key),
    prospect: textOrNull(prospect),
    device: textOrNull(device),
    owner: textOrNull(owner),
    nodeId: textOrNull(nodeId),
    messageKeys: decodeMessageKeys(text(messageKeys)),
    fencingToken: integer(token),
    lockedAt: milliseconds(lockedAt),
    renewedAt: milliseconds(renewedAt),
    expiresAt: milliseconds(expiresAt),
    contended: integer(contended) === 1,
    stale: integer(stale) === 1,
    strategy: text(strategy) as Strategy,
  }
}

/** The session table, the longest held first. */
export async function listSessions(query: Query, names: TableNames, filter: SessionFilter): Promise<SessionRow[]> {
  if (filter.keys?.length === 0) return []
  const conditions = [filter.keys ? 'session_key IN (?)' : 'owner IS NOT NULL']
  if (filter.stale !== undefined) conditions.push(`expires_at ${filter.stale ? '<=' : '>'} SYSDATE(6)`)
  return readSessions(query, {
    sql: `SELECT ${SESSION_COLUMNS} FROM ${names.sessions} WHERE ${conditions.join(' AND ')}
      ORDER BY locked_at LIMIT ?`,
    values: [...(filter.keys ? [filter.keys] : []), filter.limit],
  })
}

/** The message table, the latest first. */
export async function listMessages(query: Query, names: TableNames, filter: MessageFilter): Promise<MessageRow[]> {
  if ([filter.keys, filter.messageIds].some((wanted) => wanted?.length === 0)) return []
  const conditions = ['TRUE']
  const values: unknown[] = []
  if (filter.keys) {
    conditions.push('message_key IN (?)')
    values.push(filter.keys)
  }
  if (filter.messageIds) {
    conditions.push('message_id IN (?)')
    values.push(filter.messageIds)
  }
  if (filter.about) {
    const { name, sessionEnding } = filter.about
    conditions.push('(message_key = ? OR message_id = ? OR session_key = ? OR RIGHT(session_key, ?) = ?)')
    values.push(name, name, name, Buffer.byteLength(sessionEnding), sessionEnding)
  }
  if (filter.status) {
    conditions.push('status = ?')
    values.push(filter.status)
  }
  const { rows } = await query({
    sql: `SELECT message_key, provider, id_device, message_id, session_key, status, owner, node_id, fencing_token,
      attempts, last_error, ${micros('received_at')}, ${micros('started_at')}, ${micros('finished_at')}, ${micros('expires_at')}
      FROM ${names.messages} WHERE ${conditions.join(' AND ')} ORDER BY finished_at DESC LIMIT ?`,
    values: [...values, filter.limit],
  })
  return rows.map(messageRow)
}

function messageRow(row: Row): MessageRow {
  const [key, provider, device, id, sessionKey, status, owner, nodeId, token, attempts, error] = row
  const [receivedAt, startedAt, finishedAt, expiresAt] = row.slice(11)
  return {
    key: text(key),
    provider: text(provider),
    device: textOrNull(device),
    messageId: text(id),
    sessionKey: textOrNull(sessionKey),
    status: text(status) as MessageStatus,
    owner: textOrNull(owner),
    nodeId: textOrNull(nodeId),
    fencingToken: integerOrNull(token),
    attempts: integer(attempts),
    lastError: textOrNull(error),
    receivedAt: millisecondsOrNull(receivedAt),
    startedAt: millisecondsOrNull(startedAt),
    finishedAt: millisecondsOrNull(finishedAt),
    expiresAt: millisecondsOrNull(expiresAt),
  }
}

/** Counts both tables. */
export async function countRows(query: Query, names: TableNames): Promise<StoreStats> {
  const byNode = await query({
    sql: `SELECT node_id, COUNT(*), COALESCE(SUM(expires_at <= SYSDATE(6)), 0) FROM ${names.sessions}
      WHERE owner IS NOT NULL GROUP BY node_id ORDER BY node_id`,
    values: [],
  })
  const byStatus = await query({ sql: `SELECT status, COUNT(*) FROM ${names.messages} GROUP BY status`, values: [] })
  const nodes = byNode.rows.map(([nodeId, sessions, stale]) => ({
    nodeId: text(nodeId),
    sessions: integer(sessions),
    stale: integer(stale),
  }))
  const messages: Record<MessageStatus, number> = { queued: 0, processing: 0, completed: 0, failed: 0, dead: 0 }
  for (const [status, count] of byStatus.rows) messages[text(status) as MessageStatus] = integer(count)
  return {
    sessions: nodes.reduce((sum, node) => sum + node.sessions, 0),
    staleSessions: nodes.reduce((sum, node) => sum + node.stale, 0),
    messages,
    nodes,
  }
}

// `NOW` here: it can use the index, and that it may be behind only spares a row until the next time.
const IS_EXPIRED = `expires_at <= NOW(6) AND status NOT IN ('queued', 'processing')`
const IS_ABANDONED = 'expires_at <= NOW(6) - INTERVAL ? MICROSECOND'

/**
 * Removes abandoned rows and expired messages: found without locks, then deleted by key if that still
 * holds. A transaction for each, so that locks of one are not held during the other. And rows that nobody
 * has locked: whoever wants one again makes it again.
 */
export async function cleanUp(query: Query, names: TableNames, options: CleanupOptions): Promise<CleanupReport> {
  const { limit, abandonedAfterMs } = options
  const found = await query({
    sql: `(SELECT 0 AS kind, session_key FROM ${names.sessions} WHERE ${IS_ABANDONED} ORDER BY expires_at LIMIT ?)
      UNION ALL (SELECT 1, message_key FROM ${names.messages} WHERE ${IS_EXPIRED} ORDER BY expires_at LIMIT ?)`,
    values: [toMicros(abandonedAfterMs), limit, limit],
  })
  const keysOf = (wanted: number) => found.rows.flatMap(([kind, key]) => (integer(kind) === wanted ? [text(key)] : []))
  const [old, expired] = [keysOf(0), keysOf(1)]
  const sessions = await removeFound(query, old, (keys) => deleteAbandonedSessions(names, keys, abandonedAfterMs))
  if (old.length > 0) await query({ sql: 'COMMIT', values: [] })
  const messages = await removeFound(query, expired, (keys) => deleteExpiredMessages(names, keys))
  await query({ sql: 'COMMIT', values: [] })
  const unused = (await query(lockUnused(names, options))).rows.map(([key]) => text(key))
  await removeFound(query, unused, (keys) => deleteLocks(names, keys))
  return { sessions, messages, more: [old, expired, unused].some(({ length }) => length === limit) }
}

async function removeFound(
  query: Query,
  keys: readonly string[],
  statementFor: (keys: readonly string[]) => Statement,
): Promise<number> {
  return keys.length === 0 ? 0 : (await query(statementFor(keys))).affectedRows
}

/** Locked rows are passed over, and these stay locked until they are deleted. Not the young ones: they are wanted. */
export function lockUnused({ locks }: TableNames, { limit, abandonedAfterMs }: CleanupOptions): Statement {
  return {
    sql: `SELECT session_key FROM ${locks} FORCE INDEX (${locks}_age)
      WHERE created_at <= UTC_TIMESTAMP(6) - INTERVAL ? MICROSECOND ORDER BY created_at LIMIT ? FOR UPDATE SKIP LOCKED`,
    values: [toMicros(abandonedAfterMs), limit],
  }
}

/** Removes rows to be locked, which must be locked. */
export function deleteLocks({ locks }: TableNames, keys: readonly string[]): Statement {
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
