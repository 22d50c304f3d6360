/** Messages on their way into the queue of the MySQL store. */

import { byKey, sorted } from './key-order.ts'
import type { Query } from './mysql-connection.ts'
import { IS_HANDLED, repeat, type TableNames, toMicros } from './mysql-statements.ts'
import { integer, text, textOrNull } from './mysql-values.ts'
import type { Arrival, ArrivalVerdict, Gather, QueuedMessage } from './queue.ts'
import { readableText } from './rows.ts'
import type { RowWanted } from './store.ts'

/** A message on its way into the queue. */
interface Arriving {
  readonly arrival: Arrival
  readonly message: QueuedMessage
}

export async function enqueue(
  query: Query,
  names: TableNames,
  arrivals: readonly Arrival[],
): Promise<ArrivalVerdict[]> {
  const all = arrivals.flatMap((arrival) => arrival.messages.map((message): Arriving => ({ arrival, message })))
  const before = await ownersOfKnown(query, names, all)
  const fresh = all.filter(({ message }) => !before.has(message.key))
  const ours = fresh.length === 0 ? before : new Map([...before, ...(await store(query, names, fresh))])
  return arrivals.map(({ owner, messages }) =>
    messages.map(({ key }) => (ours.get(key) === owner ? ('queued' as const) : ('known' as const))),
  )
}

/** Of messages that are queued or handled already: who brought them, or handled them. */
async function ownersOfKnown(
  query: Query,
  names: TableNames,
  all: readonly Arriving[],
): Promise<Map<string, string | null>> {
  if (all.length === 0) return new Map()
  const { rows } = await query({
    sql: `SELECT message_key, owner FROM ${names.messages} FORCE INDEX (PRIMARY)
      WHERE message_key IN (?) AND NOT (${IS_FORGOTTEN})`,
    values: [sorted(all.map(({ message }) => message.key))],
  })
  return new Map(rows.map(([key, owner]) => [text(key), textOrNull(owner)]))
}

/** A direct claim of it failed, or it was handled so long ago that it counts as new. */
const IS_FORGOTTEN = `status = 'failed' OR (status IN ('completed', 'dead') AND NOT ${IS_HANDLED})`

/** Stores messages that seemed new. Returns whose they are now: somebody else may have been quicker. */
async function store(query: Query, names: TableNames, fresh: readonly Arriving[]): Promise<Map<string, string | null>> {
  await lengthenBacklogs(query, names, fresh)
  const next = await firstNumbers(query, names, fresh)
  await insertMessages(query, names, fresh)
  const owners = await ownersOfKnown(query, names, fresh)
  const values = fresh.flatMap(({ arrival, message }) => {
    const number = next.get(message.row.key) ?? 0
    next.set(message.row.key, number + 1)
    return owners.get(message.key) === arrival.owner ? [[message.row.key, number, message.key]] : []
  })
  if (values.length > 0) {
    const sql = `INSERT INTO ${names.queued} (session_key, sequence, message_key) VALUES ?`
    await query({ sql, values: [byKey(values, ([key]) => String(key))] })
  }
  return owners
}

/** Locks the backlogs, and counts the messages in. One that nobody has begun yet may be put off for more to come. */
async function lengthenBacklogs(query: Query, { backlogs }: TableNames, fresh: readonly Arriving[]): Promise<void> {
  const counts = new Map<string, { row: RowWanted; gather: Gather | null; messages: number }>()
  for (const { arrival, message } of fresh) {
    const counted = counts.get(message.row.key)
    const messages = (counted?.messages ?? 0) + 1
    counts.set(message.row.key, { row: message.row, gather: arrival.gather, messages })
  }
  const inOrder = byKey([...counts.values()], ({ row }) => row.key)
  // One process has one way of gathering, so this is one statement.
  for (const group of groupsOf(inOrder, ({ gather }) => `${gather?.quietMs} ${gather?.mostMs}`)) {
    const gather = group[0]?.gather ?? null
    const quiet = toMicros(gather?.quietMs ?? 0)
    const putOff = gather
      ? `due_at = IF(taken_through IS NULL AND attempts = 0 AND due_at IS NOT NULL,
          LEAST(since + INTERVAL ? MICROSECOND, VALUES(due_at)), due_at),`
      : ''
    await query({
      sql: `INSERT INTO ${backlogs} (session_key, id_prospect, id_device, last_sequence, since, due_at)
        VALUES ${repeat('(?, ?, ?, ?, SYSDATE(6), SYSDATE(6) + INTERVAL ? MICROSECOND)', group.length)}
        ON DUPLICATE KEY UPDATE ${putOff} last_sequence = last_sequence + VALUES(last_sequence)`,
      values: [
        ...group.flatMap(({ row, messages }) => [
          ...[row.key, readableText(row.prospect), readableText(row.device)],
          ...[messages, quiet],
        ]),
        ...(gather ? [toMicros(gather.mostMs)] : []),
      ],
    })
  }
}

/** The number of the first of these messages in each session. */
async function firstNumbers(
  query: Query,
  { backlogs }: TableNames,
  fresh: readonly Arriving[],
): Promise<Map<string, number>> {
  const added = new Map<string, number>()
  for (const { message } of fresh) added.set(message.row.key, (added.get(message.row.key) ?? 0) + 1)
  const { rows } = await query({
    sql: `SELECT session_key, last_sequence FROM ${backlogs} FORCE INDEX (PRIMARY) WHERE session_key IN (?)`,
    values: [sorted([...added.keys()])],
  })
  return new Map(rows.map(([key, last]) => [text(key), integer(last) - (added.get(text(key)) ?? 0) + 1]))
}

const STORED = ['provider', 'id_device', 'message_id', 'session_key', 'status', 'payload', 'received_at']

const CLEARED = ['node_id', 'fencing_token', 'last_error', 'response', 'started_at', 'finished_at', 'expires_at']

async function insertMessages(query: Query, { messages }: TableNames, fresh: readonly Arriving[]): Promise<void> {
  // The owner is decided first, and what follows compares with it.
  const isOurs = (value: string, otherwise: string) => `IF(owner <=> VALUES(owner), ${value}, ${otherwise})`
  const changes = [
    `owner = IF(${IS_FORGOTTEN}, VALUES(owner), owner)`,
    ...CLEARED.map((column) => `${column} = ${isOurs('NULL', column)}`),
    `attempts = ${isOurs('0', 'attempts')}`,
    ...STORED.map((column) => `${column} = ${isOurs(`VALUES(${column})`, column)}`),
  ]
  await query({
    sql: `INSERT INTO ${messages} (message_key, provider, id_device, message_id, session_key, status, owner, payload,
        received_at) VALUES ${repeat(`(?, ?, ?, ?, ?, 'queued', ?, ?, SYSDATE(6))`, fresh.length)}
      ON DUPLICATE KEY UPDATE ${changes.join(', ')}`,
    values: byKey(fresh, ({ message }) => message.key).flatMap(({ arrival, message }) => [
      ...[message.key, readableText(message.provider), readableText(message.device), readableText(message.id)],
      ...[message.row.key, arrival.owner, Buffer.from(message.payload)],
    ]),
  })
}

function groupsOf<Item>(items: readonly Item[], nameOf: (item: Item) => string): Item[][] {
  const groups = new Map<string, Item[]>()
  for (const item of items) {
    const group = groups.get(nameOf(item))
    if (group) group.push(item)
    else groups.set(nameOf(item), [item])
  }
  return [...groups.values()]
}
