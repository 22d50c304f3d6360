/** What a claim is decided by: how it is asked for, and how the answer is read. */
import type { RowFound } from './decide.ts'
import type { Row } from './mysql-connection.ts'
import { CLOCK, IS_HANDLED, micros, type Statement, type TableNames } from './mysql-statements.ts'
import { integer, text, textOrNull } from './mysql-values.ts'
import { decodeMessageKeys } from './rows.ts'
import type { CompletedMessage, Strategy } from './store.ts'

/**
 * The rows, the messages and the backlogs. Columns: {@link FOUND}. One statement, so that it costs one round trip.
 * `directKeys`: the rows that are not claimed for their own queued messages.
 */
export function findForClaims(
  { sessions, messages, backlogs }: TableNames,
  rowKeys: readonly string[],
  messageKeys: readonly string[],
  directKeys: readonly string[],
): Statement {
  const others = 'NULL, NULL, NULL, NULL, NULL, NULL'
  const rows = `1, NULL, session_key, owner, node_id, message_ids, fencing_token, ${micros('locked_at')},
    ${micros('renewed_at')}, ${micros('expires_at')}, contended, strategy FROM ${sessions} FORCE INDEX (PRIMARY)
    WHERE session_key IN (?)`
  return union([
    { sql: `SELECT 0, ${CLOCK}, NULL, NULL, NULL, NULL, ${others}` },
    { sql: `SELECT ${rows}`, keys: rowKeys },
    { sql: `SELECT ${known(messages, `, ${others}`)}`, keys: messageKeys },
    { sql: `SELECT ${waiting(backlogs, `, ${others}`)}`, keys: directKeys },
  ])
}

/** In the queue. */
const IS_QUEUED = `status IN ('queued', 'processing')`

/** `more`: what the columns are filled up with. */
function known(messages: string, more = ''): string {
  return `IF(${IS_QUEUED}, 3, 2), NULL, message_key, NULL, NULL, response${more} FROM ${messages} FORCE INDEX (PRIMARY)
    WHERE message_key IN (?) AND (${IS_HANDLED} OR ${IS_QUEUED})`
}

function waiting(backlogs: string, more = ''): string {
  return `3, NULL, session_key, NULL, NULL, NULL${more} FROM ${backlogs} FORCE INDEX (PRIMARY)
    WHERE session_key IN (?) AND last_sequence > 0`
}

function union(selects: ReadonlyArray<{ sql: string; keys?: readonly string[] }>): Statement {
  const asked = selects.filter(({ keys }) => keys === undefined || keys.length > 0)
  return {
    sql: asked.map(({ sql }) => sql).join(' UNION ALL '),
    values: asked.flatMap(({ keys }) => (keys ? [keys] : [])),
  }
}

/**
 * The same where most rows were inserted for the claims just now: of them, token and owner are enough. They stand in
 * the clock's own row as its text, a line each, in the order of the keys.
 */
export function findForNewRows(
  { sessions, messages, backlogs }: TableNames,
  rowKeys: readonly string[],
  messageKeys: readonly string[],
  directKeys: readonly string[],
): Statement {
  const tokens = `(SELECT GROUP_CONCAT(fencing_token, ' ', IFNULL(owner, '')
    ORDER BY session_key SEPARATOR '\\n') FROM ${sessions} FORCE INDEX (PRIMARY)
    WHERE session_key IN (?))`
  return union([
    // Named, since else the column's name is its text: with all the keys, and new to the driver each time.
    { sql: `SELECT 0, ${CLOCK}, NULL, NULL, NULL, ${tokens} AS tokens`, keys: rowKeys },
    { sql: `SELECT ${known(messages)}`, keys: messageKeys },
    { sql: `SELECT ${waiting(backlogs)}`, keys: directKeys },
  ])
}

/**
 * Where the columns of {@link findForClaims} are. `kind`: 0 the clock, 1 a row, 2 a message that is handled, 3 a message
 * or a session that is in the queue. `text` is a row's message keys, or a message's response.
 */
const FOUND = {
  kind: 0,
  clock: 1,
  key: 2,
  owner: 3,
  nodeId: 4,
  text: 5,
  token: 6,
  lockedAt: 7,
  renewedAt: 8,
  expiresAt: 9,
  contended: 10,
  strategy: 11,
} as const

/** `tokens`: as {@link findForNewRows} tells them. */
export function readFound(answer: readonly Row[]) {
  const rows = new Map<string, RowFound>()
  const completed = new Map<string, CompletedMessage>()
  const queued = new Set<string>()
  let clock = 0
  let tokens = ''
  for (const row of answer) {
    const kind = integer(row[FOUND.kind])
    if (kind === 0) {
      clock = integer(row[FOUND.clock])
      tokens = text(row[FOUND.text])
    } else if (kind === 1) rows.set(text(row[FOUND.key]), rowFound(row))
    else if (kind === 3) queued.add(text(row[FOUND.key]))
    else completed.set(text(row[FOUND.key]), { key: text(row[FOUND.key]), response: row[FOUND.text] ?? null })
  }
  return { rows, completed, queued, now: clock / 1000, tokenFloor: clock, tokens }
}

function rowFound(row: Row): RowFound {
  return {
    key: text(row[FOUND.key]),
    owner: textOrNull(row[FOUND.owner]),
    nodeId: textOrNull(row[FOUND.nodeId]),
    messageKeys: decodeMessageKeys(text(row[FOUND.text])),
    fencingToken: integer(row[FOUND.token]),
    lockedAt: integer(row[FOUND.lockedAt]) / 1000,
    renewedAt: integer(row[FOUND.renewedAt]) / 1000,
    expiresAt: integer(row[FOUND.expiresAt]) / 1000,
    contended: integer(row[FOUND.contended]) === 1,
    strategy: text(row[FOUND.strategy]) as Strategy,
  }
}
