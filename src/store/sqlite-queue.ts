/** The queue of the SQLite store. Everything here runs inside a write transaction: nobody else can write meanwhile. */
import { claimAll, type Moment, type Tables } from './local.ts'
import {
  type Arrival,
  type ArrivalVerdict,
  type Gather,
  heldAgainMs,
  mostMessages,
  openMessages,
  type PlacedMessage,
  type QueueDepth,
  type QueuedMessage,
  type QueueStep,
  type Requeued,
  type Take,
  type Taken,
} from './queue.ts'
import { readableText } from './rows.ts'
import type { SqliteConnection, SqliteRow } from './sqlite-driver.ts'
import type { Claim, RowWanted, Settlement } from './store.ts'

/** What is done to the queue's tables. `now`: epoch milliseconds. */
export interface SqliteQueue {
  hasBacklog(sessionKey: string): boolean
  step(settlement: Settlement, step: QueueStep, now: number): void
  enqueue(arrival: Arrival, now: number): ArrivalVerdict
  take(wanted: Take, moment: Moment): Taken[]
  haveMore(rowKeys: readonly string[]): string[]
  requeue(messages: readonly Requeued[], from: 'dead' | 'completed', now: number): number
  discard(messageKeys: readonly string[], retentionMs: number, now: number): number
  depth(now: number): QueueDepth
  position(source: string): string | null
  movePosition(source: string, to: string): void
}

const NO_GATHER: Gather = { quietMs: 0, mostMs: 0 }

/** Binds the queue to its tables, and to those that claims go by. */
export function sqliteQueue(connection: SqliteConnection, tables: () => Tables, tablePrefix: string): SqliteQueue {
  const backlogs = `${tablePrefix}backlogs`
  const queued = `${tablePrefix}queued`
  const messages = `${tablePrefix}messages`
  const sources = `${tablePrefix}sources`

  /** The numbers of these messages go on from the session's last one. */
  function append({ key, prospect, device }: RowWanted, messageKeys: readonly string[], gather: Gather, now: number) {
    connection.run(
      `INSERT INTO ${backlogs} (session_key, id_prospect, id_device, last_sequence, since, due_at)
        VALUES (?, ?, ?, 0, ?, ?) ON CONFLICT (session_key) DO UPDATE SET
        due_at = CASE WHEN ? AND taken_through IS NULL AND attempts = 0 AND due_at IS NOT NULL
          THEN min(since + ?, ?) ELSE due_at END`,
      ...[key, readableText(prospect), readableText(device), now, now + gather.quietMs],
      ...[gather === NO_GATHER ? 0 : 1, gather.mostMs, now + gather.quietMs],
    )
    for (const messageKey of messageKeys) {
      connection.run(`UPDATE ${backlogs} SET last_sequence = last_sequence + 1 WHERE session_key = ?`, key)
      connection.run(
        `INSERT INTO ${queued} (session_key, sequence, message_key)
          SELECT session_key, last_sequence, ? FROM ${backlogs} WHERE session_key = ?`,
        messageKey,
        key,
      )
    }
  }

  /** true: it is new, or was queued by a first try of the same arrival. */
  function isNew(message: QueuedMessage, owner: string, now: number): 'new' | 'ours' | 'known' {
    const row = connection.get(`SELECT status, owner, expires_at FROM ${messages} WHERE message_key = ?`, message.key)
    if (!row || row['status'] === 'failed') return 'new'
    if (row['status'] === 'queued' || row['status'] === 'processing') return row['owner'] === owner ? 'ours' : 'known'
    return row['expires_at'] !== null && Number(row['expires_at']) <= now ? 'new' : 'known'
  }

  function insert({ key, provider, device, id, row, payload }: QueuedMessage, owner: string, now: number): void {
    connection.run(`DELETE FROM ${messages} WHERE message_key = ?`, key)
    connection.run(
      `INSERT INTO ${messages} (message_key, provider, id_device, message_id, session_key, status, owner, payload,
        received_at) VALUES (?, ?, ?, ?, ?, 'queued', ?, ?, ?)`,
      ...[key, readableText(provider), readableText(device), readableText(id), row.key, owner, payload, now],
    )
  }

  /** The first messages of a session. Those that a direct claim has completed meanwhile leave the line. */
  function firstMessages(sessionKey: string, most: number): { message: PlacedMessage; isDead: boolean }[] {
    connection.run(
      `DELETE FROM ${queued} WHERE session_key = ? AND NOT EXISTS (SELECT 1 FROM ${messages}
        WHERE ${messages}.message_key = ${queued}.message_key AND status IN ('queued', 'dead'))`,
      sessionKey,
    )
    return connection
      .all(
        `SELECT sequence, message_key, provider, id_device, message_id, payload, received_at, status
          FROM ${queued}
          JOIN ${messages} USING (message_key) WHERE ${queued}.session_key = ? ORDER BY sequence LIMIT ?`,
        sessionKey,
        most,
      )
      .map((row) => ({ message: placedMessage(row, sessionKey), isDead: row['status'] === 'dead' }))
  }

  function takeOne(backlog: SqliteRow, owner: string, wanted: Take, moment: Moment): Taken | undefined {
    const row: RowWanted = {
      key: String(backlog['session_key']),
      prospect: text(backlog['id_prospect']),
      device: text(backlog['id_device']),
    }
    const found = firstMessages(row.key, mostMessages(wanted, Number(backlog['attempts'])))
    if (found.length === 0) {
      connection.run(`DELETE FROM ${backlogs} WHERE session_key = ?`, row.key)
      return undefined
    }
    const firstDead = found.findIndex(({ isDead }) => isDead)
    if (firstDead === 0) {
      connection.run(`UPDATE ${backlogs} SET due_at = NULL WHERE session_key = ?`, row.key)
      return undefined
    }
    const first = (firstDead < 0 ? found : found.slice(0, firstDead)).map(({ message }) => message)
    const { nodeId, staleAfterMs, tokenAbove } = wanted
    const parts = [{ rows: [row], messages: first }]
    const claim: Claim = { owner, nodeId, parts, whole: true, staleAfterMs, tokenAbove, fromQueue: true }
    const verdict = claimAll(tables(), [claim], moment)[0]?.[0]
    if (verdict?.outcome !== 'acquired') {
      const remainingMs = verdict?.outcome === 'held' ? heldAgainMs(verdict.remainingMs) : 0
      connection.run(`UPDATE ${backlogs} SET due_at = ? WHERE session_key = ?`, due(moment.now, remainingMs), row.key)
      return undefined
    }
    connection.run(
      `UPDATE ${backlogs} SET due_at = ?, attempts = attempts + 1, taken_through = ? WHERE session_key = ?`,
      due(moment.now, staleAfterMs),
      first.at(-1)?.sequence ?? 0,
      row.key,
    )
    const { fencingToken, takeover, completed } = verdict
    return {
      claim,
      fencingToken,
      takeover,
      messages: openMessages(first, completed),
      attempt: Number(backlog['attempts']) + 1,
    }
  }

  /** The next message of the session is due, if there is one. */
  function goOn(sessionKey: string, now: number): void {
    const removed = connection.run(
      `DELETE FROM ${backlogs} WHERE session_key = ? AND NOT EXISTS
        (SELECT 1 FROM ${queued} WHERE ${queued}.session_key = ${backlogs}.session_key)`,
      sessionKey,
    )
    if (removed > 0) return
    connection.run(
      `UPDATE ${backlogs} SET due_at = ?, since = ?, attempts = 0, taken_through = NULL WHERE session_key = ?`,
      ...[now, now, sessionKey],
    )
  }

  /** Of a session that somebody has in hand now, nothing may be taken away. */
  function isTaken(sessionKey: string, now: number): boolean {
    const row = tables().session(sessionKey)
    return row !== undefined && row.expiresAt > now
  }

  function isFirst(sessionKey: string, messageKey: string): boolean {
    const sql = `SELECT message_key FROM ${queued} WHERE session_key = ? ORDER BY sequence LIMIT 1`
    return connection.get(sql, sessionKey)?.['message_key'] === messageKey
  }

  function isInLine(sessionKey: string, messageKey: string): boolean {
    const sql = `SELECT 1 AS found FROM ${queued} WHERE session_key = ? AND message_key = ?`
    return connection.get(sql, sessionKey, messageKey) !== undefined
  }

  // Asked for every claim: a text made anew would be looked up anew, too.
  const selectBacklog = `SELECT 1 AS found FROM ${backlogs} WHERE session_key = ?`

  return {
    hasBacklog: (key) => connection.get(selectBacklog, key) !== undefined,
    step(settlement, step, now) {
      const key = settlement.rows[0]?.key ?? ''
      if (step.next === 'go-on') {
        connection.run(
          `DELETE FROM ${queued} WHERE session_key = ? AND sequence <=
            (SELECT taken_through FROM ${backlogs} WHERE ${backlogs}.session_key = ${queued}.session_key)`,
          key,
        )
        goOn(key, now)
        return
      }
      const back = step.next === 'give-back' ? 1 : 0
      const dueAt = step.next === 'stop' ? null : due(now, step.next === 'retry' ? step.afterMs : 0)
      connection.run(
        `UPDATE ${backlogs} SET due_at = ?, taken_through = NULL, attempts = max(0, attempts - ?) WHERE session_key = ?`,
        ...[dueAt, back, key],
      )
    },
    enqueue({ owner, messages: arrived, gather }, now) {
      const verdicts = arrived.map((message): 'queued' | 'known' => {
        const found = isNew(message, owner, now)
        if (found !== 'new') return found === 'ours' ? 'queued' : 'known'
        insert(message, owner, now)
        append(message.row, [message.key], gather ?? NO_GATHER, now)
        return 'queued'
      })
      return verdicts
    },
    take(wanted, moment) {
      return connection
        .all(
          `SELECT session_key, id_prospect, id_device, attempts FROM ${backlogs} WHERE due_at <= ?
            ORDER BY due_at LIMIT ?`,
          moment.now,
          wanted.owners.length,
        )
        .map((backlog, index) => takeOne(backlog, wanted.owners[index] as string, wanted, moment))
        .filter((taken) => taken !== undefined)
    },
    haveMore: (rowKeys) =>
      rowKeys.filter((key) => {
        const held = tables().session(key)?.messageKeys.length ?? 0
        const sql = `SELECT count(*) AS waiting FROM ${queued} WHERE session_key = ?`
        return Number(connection.get(sql, key)?.['waiting']) > held
      }),
    requeue(wanted, from, now) {
      let found = 0
      for (const { key, row } of wanted) {
        const changed = connection.run(
          `UPDATE ${messages} SET status = 'queued', last_error = NULL, expires_at = NULL, finished_at = NULL
            WHERE message_key = ? AND status = ? AND payload IS NOT NULL`,
          ...[key, from],
        )
        if (changed === 0) continue
        found += 1
        if (isInLine(row.key, key)) {
          connection.run(`UPDATE ${backlogs} SET due_at = ?, attempts = 0 WHERE session_key = ?`, now, row.key)
        } else append(row, [key], NO_GATHER, now)
      }
      return found
    },
    discard(messageKeys, retentionMs, now) {
      let found = 0
      for (const key of messageKeys) {
        const row = connection.get(
          `SELECT coalesce(session_key, message_key) AS session_key FROM ${messages}
            WHERE message_key = ? AND status IN ('queued', 'dead')`,
          key,
        )
        const sessionKey = text(row?.['session_key'])
        if (!row || sessionKey === null || isTaken(sessionKey, now)) continue
        found += connection.run(
          `UPDATE ${messages} SET status = 'completed', finished_at = ?, expires_at = ? WHERE message_key = ?`,
          ...[now, now + retentionMs, key],
        )
        const wasFirst = isFirst(sessionKey, key)
        connection.run(`DELETE FROM ${queued} WHERE session_key = ? AND message_key = ?`, sessionKey, key)
        // The wait, or the stop, of a first message is not over because one behind it went.
        if (wasFirst) goOn(sessionKey, now)
      }
      return found
    },
    depth(now) {
      const sessions = connection.get(`SELECT count(*) AS all_of_them, sum(due_at IS NULL) AS stopped FROM ${backlogs}`)
      const waiting = connection.get(
        `SELECT count(*) AS waiting, min(received_at) AS oldest FROM ${queued} JOIN ${messages} USING (message_key)`,
      )
      const oldest = waiting?.['oldest']
      return {
        sessions: Number(sessions?.['all_of_them'] ?? 0),
        stopped: Number(sessions?.['stopped'] ?? 0),
        messages: Number(waiting?.['waiting'] ?? 0),
        oldestMs: oldest === null || oldest === undefined ? null : Math.max(0, now - Number(oldest)),
      }
    },
    position: (source) =>
      text(connection.get(`SELECT position FROM ${sources} WHERE source = ?`, source)?.['position']),
    movePosition(source, to) {
      connection.run(
        `INSERT INTO ${sources} (source, position) VALUES (?, ?)
          ON CONFLICT (source) DO UPDATE SET position = excluded.position`,
        ...[source, to],
      )
    },
  }
}

/** Rounded up: a session is never due before its time. */
function due(now: number, afterMs: number): number {
  return Math.ceil(now + afterMs)
}

function placedMessage(row: SqliteRow, home: string): PlacedMessage {
  const payload = row['payload']
  return {
    sequence: Number(row['sequence']),
    home,
    key: String(row['message_key']),
    provider: String(row['provider']),
    device: text(row['id_device']),
    id: String(row['message_id']),
    payload: payload instanceof Uint8Array ? payload : new Uint8Array(),
    receivedAt: Number(row['received_at']),
  }
}

function text(value: SqliteRow[string] | undefined): string | null {
  return value === null || value === undefined ? null : String(value)
}
