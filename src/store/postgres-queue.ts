/** The queue of the Postgres store. Each batch is one call of a function; here its arguments are laid out. */

import { byKey } from './key-order.ts'
import { type ClaimAnswer, claimVerdicts } from './postgres-claim.ts'
import type { Link, Row } from './postgres-connection.ts'
import { bytes, milliseconds, type Names, toMicros } from './postgres-values.ts'
import {
  type Arrival,
  type ArrivalVerdict,
  type Gather,
  openMessages,
  type Queue,
  type QueueDepth,
  type QueuedMessage,
  type Requeued,
  type Take,
  type Taken,
  type TakenMessage,
} from './queue.ts'
import { readableText } from './rows.ts'
import type { Claim, RowWanted } from './store.ts'

/** The connections that the queue shares with the store, or has of its own. */
export interface QueueLinks {
  readonly receiving: Link
  readonly working: Link
}

/** The queue. */
export function postgresQueue(links: QueueLinks, names: Names, lockWaitMs: number): Queue {
  const { prefix, backlogs, queued, sources } = names
  const ask = links.working.call
  return {
    enqueue: (arrivals) =>
      links.receiving.call(async (query) => {
        const batch = batchOf(arrivals)
        if (batch.messages.length === 0) return arrivals.map(() => [])
        const sql = `SELECT ${enqueueCall(prefix, 0)}`
        const [row] = await query({ sql, values: [lockWaitMs, ...enqueueArguments(batch)] })
        return arrivalVerdicts(arrivals, row?.[0])
      }),

    take: (wanted) =>
      ask(async (query) => {
        if (wanted.owners.length === 0) return []
        const [row] = await query({
          sql: `SELECT answer, payloads FROM ${prefix}take($1::integer, $2::text[], $3::text, $4::bigint, $5::bigint, $6::integer, $7::integer)`,
          values: [
            lockWaitMs,
            wanted.owners,
            readableText(wanted.nodeId),
            toMicros(wanted.staleAfterMs),
            wanted.tokenAbove,
            wanted.messagesEach,
            wanted.lastAttempt,
          ],
        })
        const [answer, payloads] = row ?? []
        if (!answer) return []
        return takenSessions(JSON.parse(answer) as TakeAnswer, Buffer.from(payloads ?? '', 'base64'), wanted)
      }),

    haveMore: (rowKeys) =>
      ask(async (query) => {
        if (rowKeys.length === 0) return []
        const rows = await query({
          sql: `SELECT convert_from(session_key, 'UTF8') FROM ${backlogs} AS backlog
            WHERE session_key = ANY ($1::bytea[]) AND EXISTS (
              SELECT 1 FROM ${queued} AS queued WHERE queued.session_key = backlog.session_key
                AND queued.sequence >= coalesce(backlog.taken_through + 1, backlog.first_sequence)
            )`,
          values: [rowKeys.map(bytes)],
        })
        const found = new Set(rows.map(([key]) => key))
        return rowKeys.filter((key) => found.has(key))
      }),

    requeue: (messages, from) =>
      ask(async (query) => {
        const [row] = await query({
          sql: `SELECT ${prefix}requeue($1::integer, $2::bytea[], $3::bytea[], $4::text[], $5::text[], $6::text)`,
          values: [lockWaitMs, ...requeueArguments(messages), from],
        })
        return Number(row?.[0])
      }),

    discard: (messageKeys, retentionMs) =>
      ask(async (query) => {
        const [row] = await query({
          sql: `SELECT ${prefix}discard($1::integer, $2::bytea[], $3::bigint)`,
          values: [lockWaitMs, messageKeys.map(bytes), toMicros(retentionMs)],
        })
        return Number(row?.[0])
      }),

    depth: () =>
      ask(async (query) => {
        const [row] = await query({
          sql: `SELECT (SELECT count(*) FROM ${backlogs}), (SELECT count(*) FROM ${backlogs} WHERE due_at IS NULL),
              count(*), ${prefix}micros(clock_timestamp()) - ${prefix}micros(min(queued_at)) FROM ${queued}`,
        })
        return depthOf(row ?? [])
      }),

    position: (source) =>
      ask(async (query) => {
        const sql = `SELECT convert_from(position, 'UTF8') FROM ${sources} WHERE source = $1::bytea`
        const [row] = await query({ sql, values: [bytes(source)] })
        return row?.[0] ?? null
      }),

    enqueueFrom: (source, from, to, arrival) =>
      ask(async (query) => {
        const batch = batchOf([arrival])
        const positions = [bytes(source), from === null ? null : bytes(from), bytes(to)]
        const advance = `${prefix}advance($1::integer, $2::bytea, $3::bytea, $4::bytea)`
        const store = batch.messages.length === 0 ? 'NULL' : enqueueCall(prefix, positions.length)
        const [row] = await query({
          sql: `SELECT moved, CASE WHEN moved THEN ${store} END FROM (SELECT ${advance} AS moved OFFSET 0) AS source`,
          values: [lockWaitMs, ...positions, ...(batch.messages.length === 0 ? [] : enqueueArguments(batch))],
        })
        return row?.[0] === 't' ? (arrivalVerdicts([arrival], row[1])[0] ?? null) : null
      }),
  }
}

const ENQUEUE_TYPES = [
  ...['bytea[]', 'text[]', 'text[]', 'integer[]', 'bigint[]', 'bigint[]'],
  ...['bytea[]', 'integer[]', 'integer[]', 'text[]', 'text[]', 'text[]', 'bytea[]', 'text[]', 'integer[]', 'bytea'],
]

/** The call, whose arguments follow so many others after the first. */
function enqueueCall(prefix: string, others: number): string {
  return `${prefix}enqueue($1::integer, ${ENQUEUE_TYPES.map((type, index) => `$${index + 2 + others}::${type}`)})`
}

/** The messages of one session in a batch. */
interface Line {
  readonly row: RowWanted
  gather: Gather | null
  /** In the order of their keys, from 1. */
  number: number
  count: number
}

interface Batch {
  readonly lines: readonly Line[]
  readonly messages: ReadonlyArray<{ message: QueuedMessage; owner: string; line: Line; rank: number }>
}

function batchOf(arrivals: readonly Arrival[]): Batch {
  const lines = new Map<string, Line>()
  const messages = arrivals.flatMap(({ owner, messages: arrived, gather }) =>
    arrived.map((message) => {
      const { row } = message
      const known = lines.get(row.key)
      const line = known ?? { row, gather: null, number: 0, count: 0 }
      if (!known) lines.set(row.key, line)
      line.count++
      line.gather = gather ?? line.gather
      return { message, owner, line, rank: line.count }
    }),
  )
  const sorted = byKey([...lines.values()], ({ row: { key } }) => key)
  sorted.forEach((line, index) => {
    line.number = index + 1
  })
  return { lines: sorted, messages }
}

function enqueueArguments({ lines, messages }: Batch): unknown[] {
  let end = 0
  const gathers = lines.some(({ gather }) => gather !== null)
  const micros = (of: (gather: Gather) => number) =>
    gathers ? lines.map(({ gather }) => (gather === null ? null : toMicros(of(gather)))) : null
  return [
    lines.map(({ row }) => bytes(row.key)),
    lines.map(({ row }) => readableText(row.prospect)),
    lines.map(({ row }) => readableText(row.device)),
    lines.map(({ count }) => count),
    micros(({ quietMs }) => quietMs),
    micros(({ mostMs }) => mostMs),
    messages.map(({ message }) => bytes(message.key)),
    messages.map(({ line }) => line.number),
    messages.map(({ rank }) => rank),
    messages.map(({ message }) => readableText(message.provider)),
    messages.map(({ message }) => readableText(message.device)),
    messages.map(({ message }) => readableText(message.id)),
    messages.map(({ message, line }) => (message.key === line.row.key ? null : bytes(line.row.key))),
    messages.map(({ owner }) => owner),
    messages.map(({ message }) => (end += message.payload.byteLength)),
    Buffer.concat(messages.map(({ message }) => message.payload)),
  ]
}

/** `known`: the numbers (from 1) of the messages that are not queued now; null: none. */
function arrivalVerdicts(arrivals: readonly Arrival[], answer: string | null | undefined): ArrivalVerdict[] {
  const known = new Set<number>(answer ? (JSON.parse(answer) as number[]) : [])
  let place = 0
  return arrivals.map(({ messages }) => messages.map(() => (known.has(++place) ? 'known' : 'queued')))
}

interface TakeAnswer {
  readonly sessions: ReadonlyArray<[key: string, prospect: string | null, device: string | null, attempt: number]>
  readonly messages: readonly MessageAnswer[]
  /** What the function for claims answered. */
  readonly claim: ClaimAnswer
}

/** Times are microseconds. */
type MessageAnswer = readonly [
  session: number,
  key: string,
  provider: string,
  device: string | null,
  id: string,
  payloadSize: number,
  receivedAt: number,
]

function takenSessions({ sessions, messages, claim: answer }: TakeAnswer, payloads: Buffer, wanted: Take): Taken[] {
  const { nodeId, staleAfterMs, tokenAbove } = wanted
  const lines: TakenMessage[][] = sessions.map(() => [])
  let start = 0
  for (const [line, key, provider, device, id, size, receivedAt] of messages) {
    const payload = payloads.subarray(start, start + size)
    const home = sessions[line - 1]?.[0] ?? ''
    lines[line - 1]?.push({ key, home, provider, device, id, payload, receivedAt: milliseconds(receivedAt) })
    start += size
  }
  const claims = sessions.map(([key, prospect, device], index): Claim => {
    const parts = [{ rows: [{ key, prospect, device }], messages: lines[index] ?? [] }]
    const owner = wanted.owners[index] as string
    return { owner, nodeId, parts, whole: true, staleAfterMs, tokenAbove, fromQueue: true }
  })
  return claimVerdicts(answer, claims).flatMap(([verdict], index) => {
    if (verdict?.outcome !== 'acquired') return []
    const { fencingToken, takeover, completed } = verdict
    const open = openMessages(lines[index] ?? [], completed)
    const attempt = sessions[index]?.[3] ?? 1
    return [{ claim: claims[index] as Claim, fencingToken, takeover, messages: open, attempt }]
  })
}

function requeueArguments(messages: readonly Requeued[]): unknown[] {
  return [
    messages.map(({ key }) => bytes(key)),
    messages.map(({ row }) => bytes(row.key)),
    messages.map(({ row }) => readableText(row.prospect)),
    messages.map(({ row }) => readableText(row.device)),
  ]
}

function depthOf([sessions, stopped, messages, oldest]: Row): QueueDepth {
  return {
    sessions: Number(sessions),
    stopped: Number(stopped),
    messages: Number(messages),
    oldestMs: oldest === null || oldest === undefined ? null : Math.max(0, Math.floor(Number(oldest) / 1000)),
  }
}
