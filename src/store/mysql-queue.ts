/** The queue of the MySQL store. All transactions lock in one order: backlogs, sessions, queued, messages. */

import { byKey, sorted } from './key-order.ts'
import { goOn, lockKeys } from './mysql-backlogs.ts'
import type { Query } from './mysql-connection.ts'
import { enqueue } from './mysql-receive.ts'
import { type TableNames, toMicros } from './mysql-statements.ts'
import { integer, text, textOrNull } from './mysql-values.ts'
import { take } from './mysql-work.ts'
import type { Queue, QueueDepth, Requeued } from './queue.ts'
import { readableText } from './rows.ts'
import type { RowWanted } from './store.ts'

type InTransaction = <Value>(work: (query: Query) => Promise<Value>) => Promise<Value>

/** `ask`: on the connection of claims; `hold`: on that of settlements. */
export function mysqlQueue(names: TableNames, ask: InTransaction, hold: InTransaction): Queue {
  return {
    enqueue: (arrivals) => ask((query) => enqueue(query, names, arrivals)),
    take: (wanted) => ask((query) => take(query, names, wanted)),
    haveMore: (rowKeys) => ask((query) => haveMore(query, names, rowKeys)),
    requeue: (messages, from) => hold((query) => requeue(query, names, messages, from)),
    discard: (messageKeys, retentionMs) => hold((query) => discard(query, names, messageKeys, retentionMs)),
    depth: () => ask((query) => depth(query, names)),
    position: (source) => ask((query) => position(query, names, source)),
    enqueueFrom: (source, from, to, arrival) =>
      ask(async (query) => {
        if (!(await movePosition(query, names, source, from, to))) return null
        return (await enqueue(query, names, [arrival]))[0] ?? []
      }),
  }
}

async function haveMore(query: Query, { queued, sessions }: TableNames, rowKeys: readonly string[]): Promise<string[]> {
  if (rowKeys.length === 0) return []
  const { rows } = await query({
    sql: `SELECT line.session_key FROM ${queued} AS line JOIN ${sessions} AS held ON held.session_key = line.session_key
      WHERE line.session_key IN (?) GROUP BY line.session_key, held.message_ids
      HAVING COUNT(*) > JSON_LENGTH(held.message_ids)`,
    values: [sorted(rowKeys)],
  })
  return rows.map(([key]) => text(key))
}

async function requeue(
  query: Query,
  names: TableNames,
  wanted: readonly Requeued[],
  from: 'dead' | 'completed',
): Promise<number> {
  let found = 0
  for (const { key, row } of byKey(wanted, (one) => one.row.key)) {
    await lockKeys(query, names.backlogs, [row.key])
    const { affectedRows } = await query({
      sql: `UPDATE ${names.messages} SET status = 'queued', last_error = NULL, expires_at = NULL, finished_at = NULL
        WHERE message_key = ? AND status = ? AND payload IS NOT NULL`,
      values: [key, from],
    })
    if (affectedRows === 0) continue
    found += 1
    if (await isInLine(query, names, row.key, key)) {
      const sql = `UPDATE ${names.backlogs} SET due_at = SYSDATE(6), attempts = 0 WHERE session_key = ?`
      await query({ sql, values: [row.key] })
    } else await append(query, names, row, key)
  }
  return found
}

async function append(
  query: Query,
  { backlogs, queued }: TableNames,
  row: RowWanted,
  messageKey: string,
): Promise<void> {
  await query({
    sql: `INSERT INTO ${backlogs} (session_key, id_prospect, id_device, last_sequence, since, due_at)
      VALUES (?, ?, ?, 1, SYSDATE(6), SYSDATE(6)) ON DUPLICATE KEY UPDATE last_sequence = last_sequence + 1`,
    values: [row.key, readableText(row.prospect), readableText(row.device)],
  })
  await query({
    sql: `INSERT INTO ${queued} (session_key, sequence, message_key)
      SELECT session_key, last_sequence, ? FROM ${backlogs} WHERE session_key = ?`,
    values: [messageKey, row.key],
  })
}

async function isInLine(
  query: Query,
  { queued }: TableNames,
  sessionKey: string,
  messageKey: string,
): Promise<boolean> {
  const sql = `SELECT 1 FROM ${queued} WHERE session_key = ? AND message_key = ? LIMIT 1`
  return (await query({ sql, values: [sessionKey, messageKey] })).rows.length > 0
}

async function discard(
  query: Query,
  names: TableNames,
  messageKeys: readonly string[],
  retentionMs: number,
): Promise<number> {
  let found = 0
  if (messageKeys.length === 0) return 0
  const { rows } = await query({
    sql: `SELECT message_key, COALESCE(session_key, message_key) FROM ${names.messages} FORCE INDEX (PRIMARY)
      WHERE message_key IN (?) AND status IN ('queued', 'dead')`,
    values: [sorted(messageKeys)],
  })
  const standing = rows.map(([key, sessionKey]) => ({ key: text(key), sessionKey: text(sessionKey) }))
  for (const { key, sessionKey } of byKey(standing, (one) => one.sessionKey)) {
    await lockKeys(query, names.backlogs, [sessionKey])
    // Of a session that somebody has in hand now, nothing may be taken away.
    const { rows: held } = await query({
      sql: `SELECT 1 FROM ${names.sessions} WHERE session_key = ? AND expires_at > SYSDATE(6) FOR UPDATE`,
      values: [sessionKey],
    })
    if (held.length > 0) continue
    const { affectedRows } = await query({
      sql: `UPDATE ${names.messages} SET status = 'completed', finished_at = SYSDATE(6),
        expires_at = SYSDATE(6) + INTERVAL ? MICROSECOND WHERE message_key = ? AND status IN ('queued', 'dead')`,
      values: [toMicros(retentionMs), key],
    })
    found += affectedRows > 0 ? 1 : 0
    const first = await query({
      sql: `SELECT message_key FROM ${names.queued} WHERE session_key = ? ORDER BY sequence LIMIT 1`,
      values: [sessionKey],
    })
    await query({
      sql: `DELETE FROM ${names.queued} WHERE session_key = ? AND message_key = ?`,
      values: [sessionKey, key],
    })
    // The wait, or the stop, of a first message is not over because one behind it went.
    if (text(first.rows[0]?.[0]) === key) await goOn(query, names, [sessionKey])
  }
  return found
}

async function depth(query: Query, { backlogs, queued, messages }: TableNames): Promise<QueueDepth> {
  const { rows } = await query({
    sql: `SELECT (SELECT COUNT(*) FROM ${backlogs}), (SELECT COUNT(*) FROM ${backlogs} WHERE due_at IS NULL),
      (SELECT COUNT(*) FROM ${queued}),
      (SELECT TIMESTAMPDIFF(MICROSECOND, MIN(received_at), SYSDATE(6)) FROM ${queued} JOIN ${messages} USING (message_key))`,
    values: [],
  })
  const [sessions, stopped, waiting, oldest] = rows[0] ?? []
  return {
    sessions: integer(sessions),
    stopped: integer(stopped),
    messages: integer(waiting),
    oldestMs: oldest ? Math.max(0, integer(oldest) / 1000) : null,
  }
}

async function position(query: Query, { sources }: TableNames, source: string): Promise<string | null> {
  const { rows } = await query({ sql: `SELECT position FROM ${sources} WHERE source = ?`, values: [source] })
  return textOrNull(rows[0]?.[0])
}

/** false: it is no longer where the page was asked for. */
async function movePosition(
  query: Query,
  { sources }: TableNames,
  source: string,
  from: string | null,
  to: string,
): Promise<boolean> {
  const moved =
    from === null
      ? await query({ sql: `INSERT IGNORE INTO ${sources} (source, position) VALUES (?, ?)`, values: [source, to] })
      : await query({
          sql: `UPDATE ${sources} SET position = ? WHERE source = ? AND BINARY position = ?`,
          values: [to, source, from],
        })
  return moved.affectedRows > 0
}
