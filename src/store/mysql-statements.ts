/**
 * The statements, as text and values, the same for MariaDB and MySQL.
 *
 * Time is `SYSDATE(6)`: `NOW` stands still from the statement's start, which can be seconds before
 * it gets its row. Every statement that locks names its index: on a near-empty table InnoDB would
 * scan, and lock, all of it. Each sorts its keys by their bytes, so that all take them in one order.
 */
import { byKey, sorted } from './key-order.ts'
import { encodeMessageKeys, errorText, isKept, readableText, settledStatus } from './rows.ts'
import type { Claim, ClaimPart, MessageRef, RowHeld, RowWanted, Settlement } from './store.ts'

/** One statement; `?` stands for a value, or for a list of them. */
export interface Statement {
  readonly sql: string
  readonly values: readonly unknown[]
}

/** The tables' names; the prefix has been checked, so they stand unquoted. */
export interface TableNames {
  readonly sessions: string
  readonly messages: string
  readonly locks: string
  readonly migrations: string
  readonly backlogs: string
  readonly queued: string
  readonly sources: string
}

/** The names under a prefix. */
export function tableNames(prefix: string): TableNames {
  return {
    sessions: `${prefix}sessions`,
    messages: `${prefix}messages`,
    locks: `${prefix}locks`,
    migrations: `${prefix}migrations`,
    backlogs: `${prefix}backlogs`,
    queued: `${prefix}queued`,
    sources: `${prefix}sources`,
  }
}

/** Microseconds since 1970 of a time, as an integer. */
export function micros(time: string): string {
  return `TIMESTAMPDIFF(MICROSECOND, '1970-01-01', ${time})`
}

/** The server's clock. */
export const CLOCK = micros('SYSDATE(6)')

/** A row to write for a claim. */
export interface RowToTake {
  readonly claim: Claim
  readonly part: ClaimPart
  readonly row: RowWanted
  /** Insert: the smallest token allowed. Overwrite: the token itself. */
  readonly token: number
  /** Keys of messages that turned out to be completed, and so are not in hand. */
  readonly completed?: ReadonlySet<string>
}

const ROW_COLUMNS =
  'session_key, id_prospect, id_device, owner, node_id, message_ids, strategy, fencing_token, ' +
  'locked_at, renewed_at, expires_at'
const ROW_TIMES = 'SYSDATE(6), SYSDATE(6), SYSDATE(6) + INTERVAL ? MICROSECOND'

/** Inserts the rows that are free, and locks the others without changing them. */
export function takeRows({ sessions }: TableNames, rows: readonly RowToTake[]): Statement {
  const row = `(?, ?, ?, ?, ?, ?, ?, GREATEST(?, ${CLOCK}), ${ROW_TIMES})`
  return {
    sql: `INSERT INTO ${sessions} (${ROW_COLUMNS}) VALUES ${repeat(row, rows.length)}
      ON DUPLICATE KEY UPDATE owner = owner`,
    values: byKey(rows, (wanted) => wanted.row.key).flatMap(rowValues),
  }
}

/** Writes rows that are locked already: takeovers, and own rows whose stamp is from before the lock. */
export function overwriteRows({ sessions }: TableNames, rows: readonly RowToTake[]): Statement {
  // `contended` comes first: assignments run from left to right, and it compares with the owner before.
  return {
    sql: `INSERT INTO ${sessions} (${ROW_COLUMNS}) VALUES ${repeat(`(?, ?, ?, ?, ?, ?, ?, ?, ${ROW_TIMES})`, rows.length)}
      ON DUPLICATE KEY UPDATE contended = IF(owner <=> VALUES(owner), contended, 0), owner = VALUES(owner),
      id_prospect = VALUES(id_prospect), id_device = VALUES(id_device), node_id = VALUES(node_id),
      message_ids = VALUES(message_ids), strategy = VALUES(strategy), fencing_token = VALUES(fencing_token),
      locked_at = VALUES(locked_at), renewed_at = VALUES(renewed_at), expires_at = VALUES(expires_at)`,
    values: byKey(rows, (wanted) => wanted.row.key).flatMap(rowValues),
  }
}

function rowValues({ claim, part, row, token, completed }: RowToTake): unknown[] {
  const keys = part.messages.map((message) => message.key).filter((key) => !completed?.has(key))
  return [
    row.key,
    readableText(row.prospect),
    readableText(row.device),
    claim.owner,
    readableText(claim.nodeId),
    encodeMessageKeys(keys),
    claim.strategy ?? 'lease',
    token,
    toMicros(claim.staleAfterMs),
  ]
}

/** Handled, and still remembered. */
export const IS_HANDLED = handledAt('SYSDATE(6)')

function handledAt(clock: string): string {
  return `status IN ('completed', 'dead') AND (expires_at IS NULL OR expires_at > ${clock})`
}

/** Marks rows that somebody waits for. */
export function markContended({ sessions }: TableNames, keys: readonly string[]): Statement {
  return {
    sql: `UPDATE ${sessions} FORCE INDEX (PRIMARY) SET contended = 1 WHERE session_key IN (?)`,
    values: [sorted(keys)],
  }
}

/** A row in somebody's hands, as renewals and settlements compare it. */
export type Hold = readonly [key: string, owner: string, fencingToken: number]

/** The rows of renewals or settlements. */
export function holdsOf(items: ReadonlyArray<{ owner: string; rows: readonly RowHeld[] }>): Hold[] {
  return items.flatMap(({ owner, rows }) => rows.map((row): Hold => [row.key, owner, row.fencingToken]))
}

/**
 * The keys stand there twice: MariaDB uses the index only for the simple list, and only the list of
 * triples is exact (one owner can hold several leases, and two leases can have one token).
 */
const IS_HELD = 'session_key IN (?) AND (session_key, owner, fencing_token) IN (?)'

function heldValues(holds: readonly Hold[]): unknown[] {
  const inOrder = byKey(holds, ([key]) => key)
  return [inOrder.map(([key]) => key), inOrder]
}

/**
 * Removes those rows that are still in these hands; how many, its answer tells. In the form for several
 * tables, since only that one can name an index; and it keeps to the keys only because it reads another
 * column too, else the optimizer takes the whole primary key for an index that covers it all, and scans that.
 */
export function deleteHeld({ sessions }: TableNames, holds: readonly Hold[]): Statement {
  return {
    sql: `DELETE held FROM ${sessions} AS held FORCE INDEX (PRIMARY) WHERE ${IS_HELD}`,
    values: heldValues(holds),
  }
}

/** The same, but for rows that somebody waits for: so that their number tells whether there were any. */
export function deleteUncontended(names: TableNames, holds: readonly Hold[]): Statement {
  const { sql, values } = deleteHeld(names, holds)
  return { sql: `${sql} AND contended = 0`, values }
}

/** Lets those rows live on that are still in these hands, expired or not. */
export function renewHeld({ sessions }: TableNames, holds: readonly Hold[], staleAfterMs: number): Statement {
  return {
    sql: `UPDATE ${sessions} FORCE INDEX (PRIMARY)
      SET renewed_at = SYSDATE(6), expires_at = SYSDATE(6) + INTERVAL ? MICROSECOND WHERE ${IS_HELD}`,
    values: [toMicros(staleAfterMs), ...heldValues(holds)],
  }
}

/** Who holds these rows. Columns: key, owner, token, whether somebody waits for it. */
export function findHolders({ sessions }: TableNames, keys: readonly string[], lock: boolean): Statement {
  return {
    sql: `SELECT session_key, owner, fencing_token, contended FROM ${sessions} FORCE INDEX (PRIMARY)
      WHERE session_key IN (?) ORDER BY session_key${lock ? ' FOR UPDATE' : ''}`,
    values: [sorted(keys)],
  }
}

/** Who handled these messages last. Columns: key, owner, token. */
export function findHandlers({ messages }: TableNames, keys: readonly string[]): Statement {
  return {
    sql: `SELECT message_key, owner, fencing_token FROM ${messages} FORCE INDEX (PRIMARY) WHERE message_key IN (?)`,
    values: [sorted(keys)],
  }
}

const MESSAGE_COLUMNS =
  'message_key, provider, id_device, message_id, session_key, status, owner, node_id, fencing_token, ' +
  'attempts, last_error, response, finished_at, expires_at'

/**
 * Under two sessions, somebody else may have completed it meanwhile; a failure takes nothing of that back. Nor does a
 * direct one take a message out of the queue.
 */
const WRITES = `NOT (VALUES(status) = 'failed' AND status = 'queued'
  OR VALUES(status) <> 'completed' AND ${handledAt('UTC_TIMESTAMP(6)')})`

/**
 * Writes the messages of settlements, each with the settlement it belongs to. `ifChanged`: refused, as `isCountRefused`
 * tells, where the statement before it has changed another number of rows.
 */
export function writeMessages(
  { messages }: TableNames,
  written: readonly SettledMessage[],
  ifChanged?: number,
): Statement {
  // In a handler's transaction the session's time zone is the handler's own, and which of the two ends of a wait
  // is told matters to nobody here.
  const rows = written.map(() => messageRow('?'))
  // There is no other way to stop there: the first message has no provider then, which its column does not take.
  if (ifChanged !== undefined) rows[0] = messageRow(`IF(ROW_COUNT() = ${ifChanged}, ?, NULL)`)
  // The owner is decided first, and what follows compares with it: assignments run from left to right
  // and see each other's new values.
  const others = ['status', 'provider', 'id_device', 'message_id', 'session_key', 'node_id', 'fencing_token']
  const kept = [...others, 'last_error', 'response', 'finished_at', 'expires_at']
  return {
    sql: `INSERT INTO ${messages} (${MESSAGE_COLUMNS}) VALUES ${rows.join(', ')}
      ON DUPLICATE KEY UPDATE owner = IF(${WRITES}, VALUES(owner), owner),
      attempts = IF(owner <=> VALUES(owner), attempts + 1, attempts),
      ${kept.map((column) => `${column} = IF(owner <=> VALUES(owner), VALUES(${column}), ${column})`).join(', ')}`,
    values: byKey(written, ({ message }) => message.key).flatMap(messageValues),
  }
}

function messageRow(provider: string): string {
  return `(?, ${provider}, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND)`
}

/** One message of a settlement. */
export interface SettledMessage {
  readonly settlement: Settlement
  readonly message: MessageRef
}

function messageValues({ settlement, message }: SettledMessage): unknown[] {
  const held = settlement.rows[0]
  const status = settledStatus(settlement)
  const retentionMs = message.retentionMs ?? settlement.retentionMs
  return [
    message.key,
    readableText(message.provider),
    readableText(message.device),
    readableText(message.id),
    held === undefined || held.key === message.key ? null : held.key,
    status,
    settlement.owner,
    readableText(settlement.nodeId),
    held?.fencingToken ?? null,
    errorText(settlement.error),
    settlement.response === null ? null : asBuffer(settlement.response),
    isKept(settlement) ? null : toMicros(retentionMs),
  ]
}

export function repeat(row: string, times: number): string {
  return Array.from({ length: times }, () => row).join(', ')
}

/** For `INTERVAL ? MICROSECOND`. */
export function toMicros(milliseconds: number): number {
  return Math.round(milliseconds * 1000)
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
