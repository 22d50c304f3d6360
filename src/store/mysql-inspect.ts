/** Looking inside: reads without locks. And what forced releases lock and mark. */

import { sorted } from './key-order.ts'
import type { Query, Row } from './mysql-connection.ts'
import { IS_HANDLED, micros, type Statement, type TableNames } from './mysql-statements.ts'
import { integer, integerOrNull, milliseconds, millisecondsOrNull, text, textOrNull } from './mysql-values.ts'
import { decodeMessageKeys } from './rows.ts'
import type {
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

/** The message table, unfinished ones first, then the latest. */
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
      FROM ${names.messages} WHERE ${conditions.join(' AND ')} ORDER BY finished_at IS NULL DESC, finished_at DESC LIMIT ?`,
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
