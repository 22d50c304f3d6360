/** Workers of the MySQL store: sessions that are due are taken, each with its first messages. */

import { sorted } from './key-order.ts'
import { removeEmpty } from './mysql-backlogs.ts'
import { claimBatch } from './mysql-claim.ts'
import type { Query } from './mysql-connection.ts'
import { micros, repeat, type TableNames, toMicros } from './mysql-statements.ts'
import { integer, text, textOrNull } from './mysql-values.ts'
import { heldAgainMs, mostMessages, openMessages, type PlacedMessage, type Take, type Taken } from './queue.ts'
import type { Claim, RowWanted } from './store.ts'

export async function take(query: Query, names: TableNames, wanted: Take): Promise<Taken[]> {
  const due = await lockDue(query, names, wanted.owners.length)
  if (due.length === 0) return []
  const { lines, stopped } = await firstMessages(query, names, due, wanted)
  const empty = due.filter(({ row }) => !lines.has(row.key)).map(({ row }) => row.key)
  if (empty.length > 0) await removeEmpty(query, names, empty)
  for (const key of stopped) await putOff(query, names, key, null)
  const waiting = due.filter(({ row }) => (lines.get(row.key)?.length ?? 0) > 0)
  const { nodeId, staleAfterMs, tokenAbove } = wanted
  const claims = waiting.map(({ row }, index): Claim => {
    const parts = [{ rows: [row], messages: lines.get(row.key) ?? [] }]
    const owner = wanted.owners[index] as string
    return { owner, nodeId, parts, whole: true, staleAfterMs, tokenAbove, fromQueue: true }
  })
  const verdicts = claims.length > 0 ? await claimBatch(query, names, claims) : []
  const taken: Taken[] = []
  for (const [index, { row, attempts }] of waiting.entries()) {
    const verdict = verdicts[index]?.[0]
    if (verdict?.outcome === 'acquired') {
      const { fencingToken, takeover } = verdict
      const messages = openMessages(lines.get(row.key) ?? [], verdict.completed)
      taken.push({ claim: claims[index] as Claim, fencingToken, takeover, messages, attempt: attempts + 1 })
    } else await putOff(query, names, row.key, verdict?.outcome === 'held' ? heldAgainMs(verdict.remainingMs) : 0)
  }
  if (taken.length > 0) await markTaken(query, names, taken, lines, staleAfterMs)
  return taken
}

interface Due {
  readonly row: RowWanted
  readonly attempts: number
}

/**
 * Not those that another node is looking at just now. By `NOW`, since with `SYSDATE` the index is no range, and all of it
 * would be locked; it waits for nobody, so that its clock is not behind.
 */
async function lockDue(query: Query, { backlogs }: TableNames, most: number): Promise<Due[]> {
  const { rows } = await query({
    sql: `SELECT session_key, id_prospect, id_device, attempts FROM ${backlogs} FORCE INDEX (${backlogs}_due)
      WHERE due_at <= NOW(6) ORDER BY due_at LIMIT ? FOR UPDATE SKIP LOCKED`,
    values: [most],
  })
  return rows.map(([key, prospect, device, attempts]) => ({
    row: { key: text(key), prospect: textOrNull(prospect), device: textOrNull(device) },
    attempts: integer(attempts),
  }))
}

/**
 * The first messages of each session, up to the first dead one; `stopped`: those sessions where that is the first of
 * all. Of those that a direct claim has handled meanwhile the line is rid; a session that has only such is there with
 * none, and looked at again the next time.
 */
async function firstMessages(
  query: Query,
  names: TableNames,
  due: readonly Due[],
  wanted: Take,
): Promise<{ readonly lines: Map<string, PlacedMessage[]>; readonly stopped: ReadonlySet<string> }> {
  const first = `(SELECT session_key, sequence, message_key FROM ${names.queued} WHERE session_key = ? ORDER BY sequence LIMIT ?)`
  const { rows: places } = await query({
    sql: due.map(() => first).join(' UNION ALL '),
    values: due.flatMap(({ row, attempts }) => [row.key, mostMessages(wanted, attempts)]),
  })
  const lines = new Map<string, PlacedMessage[]>()
  const stopped = new Set<string>()
  if (places.length === 0) return { lines, stopped }
  const { rows } = await query({
    sql: `SELECT message_key, provider, id_device, message_id, payload, ${micros('received_at')},
      status FROM ${names.messages}
      FORCE INDEX (PRIMARY) WHERE message_key IN (?) AND status IN ('queued', 'dead')`,
    values: [sorted(places.map(([, , key]) => text(key)))],
  })
  const found = new Map(rows.map((row) => [text(row[0]), row]))
  const inOrder = places.map(([sessionKey, sequence, messageKey]) => ({
    sessionKey: text(sessionKey),
    sequence: integer(sequence),
    row: found.get(text(messageKey)),
  }))
  const ended = new Set<string>()
  for (const { sessionKey, sequence, row } of inOrder.sort((a, b) => a.sequence - b.sequence)) {
    const line = lines.get(sessionKey) ?? []
    lines.set(sessionKey, line)
    if (!row) {
      const sql = `DELETE FROM ${names.queued} WHERE session_key = ? AND sequence = ?`
      await query({ sql, values: [sessionKey, sequence] })
    } else if (text(row[6]) === 'dead') {
      if (line.length === 0) stopped.add(sessionKey)
      ended.add(sessionKey)
    } else if (!ended.has(sessionKey)) line.push(placedMessage(row, sequence, sessionKey))
  }
  return { lines, stopped }
}

function placedMessage(
  [key, provider, device, id, payload, receivedAt]: ReadonlyArray<Buffer | null>,
  sequence: number,
  home: string,
): PlacedMessage {
  return {
    sequence,
    home,
    key: text(key),
    provider: text(provider),
    device: textOrNull(device),
    id: text(id),
    payload: payload ?? new Uint8Array(),
    receivedAt: Math.floor(integer(receivedAt) / 1000),
  }
}

async function markTaken(
  query: Query,
  { backlogs }: TableNames,
  taken: readonly Taken[],
  lines: ReadonlyMap<string, readonly PlacedMessage[]>,
  staleAfterMs: number,
): Promise<void> {
  const keys = taken.flatMap(({ claim }) => claim.parts.flatMap((part) => part.rows.map(({ key }) => key)))
  // They are there and locked; an insert is the one way to give each row a value of its own.
  const row = '(?, 0, SYSDATE(6), SYSDATE(6) + INTERVAL ? MICROSECOND, ?)'
  await query({
    sql: `INSERT INTO ${backlogs} (session_key, last_sequence, since, due_at, taken_through)
      VALUES ${repeat(row, keys.length)} ON DUPLICATE KEY UPDATE
      due_at = VALUES(due_at), attempts = attempts + 1, taken_through = VALUES(taken_through)`,
    values: sorted(keys).flatMap((key) => [key, toMicros(staleAfterMs), lines.get(key)?.at(-1)?.sequence ?? 0]),
  })
}

/** null: until somebody steps in. */
async function putOff(
  query: Query,
  { backlogs }: TableNames,
  sessionKey: string,
  afterMs: number | null,
): Promise<void> {
  await query({
    sql: `UPDATE ${backlogs} SET due_at = SYSDATE(6) + INTERVAL ? MICROSECOND WHERE session_key = ?`,
    values: [afterMs === null ? null : toMicros(afterMs), sessionKey],
  })
}
