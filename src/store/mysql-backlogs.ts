/** The backlogs of the MySQL store: which sessions have queued messages, and what a settlement leaves of them. */

import { sorted } from './key-order.ts'
import type { Query } from './mysql-connection.ts'
import { type Statement, type TableNames, toMicros } from './mysql-statements.ts'
import { integer, text } from './mysql-values.ts'
import type { QueueStep } from './queue.ts'
import type { Settlement } from './store.ts'

/** How far workers have taken the sessions that are settled, by session; their backlogs are locked. */
export type TakenThrough = ReadonlyMap<string, number>

/** Called before a settlement takes its rows. */
export async function lockBacklogs(
  query: Query,
  { backlogs }: TableNames,
  settlements: readonly Settlement[],
): Promise<TakenThrough> {
  const keys = settlements.filter(({ step }) => step).flatMap(({ rows }) => rows.map(({ key }) => key))
  return keys.length > 0 ? lockKeys(query, backlogs, keys) : new Map()
}

export async function lockKeys(query: Query, backlogs: string, keys: readonly string[]): Promise<TakenThrough> {
  const { rows } = await query({
    sql: `SELECT session_key, taken_through FROM ${backlogs} FORCE INDEX (PRIMARY)
      WHERE session_key IN (?) ORDER BY session_key FOR UPDATE`,
    values: [sorted(keys)],
  })
  return new Map(rows.map(([key, through]) => [text(key), integer(through)]))
}

/**
 * What settlements mean for the queue; all of them are of rows that were held. By `UTC_TIMESTAMP`, as in a handler's
 * transaction the session's time zone is the handler's own.
 */
export async function stepQueue(
  query: Query,
  names: TableNames,
  settlements: readonly Settlement[],
  through: TakenThrough,
): Promise<void> {
  const ended = settlements.flatMap(({ rows: [held], step }) => (held && step ? [{ key: held.key, step }] : []))
  const going = ended.filter(({ step }) => step.next === 'go-on').map(({ key }) => key)
  if (going.length > 0) {
    await query(deleteDone(names, new Map(going.map((key) => [key, through.get(key) ?? 0]))))
    await goOn(query, names, going)
  }
  for (const { key, step } of ended) if (step.next !== 'go-on') await stay(query, names, key, step)
}

/** The next message of each session is due, if there is one. */
export async function goOn(query: Query, names: TableNames, sessionKeys: readonly string[]): Promise<void> {
  const removed = await removeEmpty(query, names, sessionKeys)
  if (removed === new Set(sessionKeys).size) return
  await query({
    sql: `UPDATE ${names.backlogs} FORCE INDEX (PRIMARY)
      SET due_at = UTC_TIMESTAMP(6), since = UTC_TIMESTAMP(6), attempts = 0, taken_through = NULL WHERE session_key IN (?)`,
    values: [sorted(sessionKeys)],
  })
}

export async function removeEmpty(
  query: Query,
  { backlogs, queued }: TableNames,
  sessionKeys: readonly string[],
): Promise<number> {
  // The backlogs are locked, so that nobody adds to their lines; looking locks nothing of others.
  const { rows } = await query({
    sql: `SELECT DISTINCT session_key FROM ${queued} FORCE INDEX (PRIMARY) WHERE session_key IN (?)`,
    values: [sorted(sessionKeys)],
  })
  const waiting = new Set(rows.map(([key]) => text(key)))
  const empty = sessionKeys.filter((key) => !waiting.has(key))
  if (empty.length === 0) return 0
  return (await query(deleteBacklogs(backlogs, empty))).affectedRows
}

/** The lines of these sessions, each up to a number. It names its index, and keeps to it, as `deleteHeld` does. */
export function deleteDone({ queued }: TableNames, through: TakenThrough): Statement {
  return {
    sql: `DELETE done FROM ${queued} AS done FORCE INDEX (PRIMARY)
      WHERE (${[...through].map(() => '(session_key = ? AND sequence <= ?)').join(' OR ')}) AND message_key IS NOT NULL`,
    values: sorted([...through.keys()]).flatMap((key) => [key, through.get(key)]),
  }
}

/** Likewise. */
export function deleteBacklogs(backlogs: string, sessionKeys: readonly string[]): Statement {
  return {
    sql: `DELETE idle FROM ${backlogs} AS idle FORCE INDEX (PRIMARY) WHERE session_key IN (?) AND last_sequence >= 0`,
    values: [sorted(sessionKeys)],
  }
}

async function stay(
  query: Query,
  { backlogs }: TableNames,
  key: string,
  step: Exclude<QueueStep, { next: 'go-on' }>,
): Promise<void> {
  const after = step.next === 'stop' ? null : toMicros(step.next === 'retry' ? step.afterMs : 0)
  await query({
    sql: `UPDATE ${backlogs} SET due_at = UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND, taken_through = NULL,
      attempts = IF(attempts > 0, attempts - ?, 0) WHERE session_key = ?`,
    values: [after, step.next === 'give-back' ? 1 : 0, key],
  })
}
