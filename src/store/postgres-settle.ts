/** Renewals, settlements and forced releases: what happens to rows in somebody's hands. Each is one call. */
import { byKey } from './key-order.ts'
import type { Query } from './postgres-connection.ts'
import { type SessionAnswer, sessionRow } from './postgres-inspect.ts'
import { bytes, type Names, toMicros } from './postgres-values.ts'
import { errorText, isKept, readableText, settledStatus } from './rows.ts'
import type {
  ReleaseOptions,
  Renewal,
  RenewalVerdict,
  RowHeld,
  SessionRow,
  Settlement,
  SettlementVerdict,
} from './store.ts'

/** Renews every row that is still its owner's. */
export async function renewBatch(
  query: Query,
  { prefix }: Names,
  lockWaitMs: number,
  renewals: readonly Renewal[],
): Promise<RenewalVerdict[]> {
  const holds = renewals.flatMap((renewal) => renewal.rows.map((row) => ({ renewal, row })))
  if (holds.length === 0) return renewals.map(() => [])
  const [answer] = await query({
    sql: `SELECT ${prefix}renew($1::integer, $2::bytea[], $3::text[], $4::bigint[], $5::bigint[])`,
    values: [
      lockWaitMs,
      holds.map(({ row }) => bytes(row.key)),
      holds.map(({ renewal }) => renewal.owner),
      holds.map(({ row }) => row.fencingToken),
      holds.map(({ renewal }) => toMicros(renewal.staleAfterMs)),
    ],
  })
  const renewed = new Set(JSON.parse(answer?.[0] ?? '') as number[])
  let place = 0
  return renewals.map(({ rows }) => rows.map(() => renewed.has(++place)))
}

/** Ends the leases. */
export async function settleBatch(
  query: Query,
  { prefix }: Names,
  lockWaitMs: number,
  settlements: readonly Settlement[],
): Promise<SettlementVerdict[]> {
  if (settlements.length === 0) return []
  const [answer] = await query({
    sql: `SELECT ${prefix}settle($1::integer, $2::integer, $3::bytea[], $4::text[], $5::bigint[], $6::integer[],
      $7::bytea[], $8::integer[], $9::text[], $10::text[], $11::text[], $12::bytea[], $13::text[], $14::text[],
      $15::text[], $16::bigint[], $17::text[], $18::bytea[], $19::bigint[], $20::bytea[], $21::integer[], $22::text[],
      $23::bigint[])`,
    values: [
      lockWaitMs,
      settlements.length,
      ...rowArguments(settlements),
      ...messageArguments(settlements),
      ...stepArguments(settlements),
    ],
  })
  if (answer?.[0] === null) return settlements.map(() => 'settled')
  const [lost, contended] = JSON.parse(answer?.[0] ?? '') as [number[], number[]]
  return settlements.map((_, index) => {
    if (lost.includes(index + 1)) return 'lost'
    return contended.includes(index + 1) ? 'contended' : 'settled'
  })
}

function rowArguments(settlements: readonly Settlement[]): unknown[] {
  const held = settlements.flatMap(({ owner, rows }, index) => rows.map((row) => ({ owner, row, number: index + 1 })))
  const rows = byKey(held, ({ row }) => row.key)
  return [
    rows.map(({ row }) => bytes(row.key)),
    rows.map(({ owner }) => owner),
    rows.map(({ row }) => row.fencingToken),
    rows.map(({ number }) => number),
  ]
}

function messageArguments(settlements: readonly Settlement[]): unknown[] {
  const messages = settlements.flatMap((settlement, index) =>
    settlement.outcome === 'released'
      ? []
      : settlement.messages.map((message) => ({ settlement, message, number: index + 1 })),
  )
  const written = byKey(messages, ({ message }) => message.key)
  return [
    written.map(({ message }) => bytes(message.key)),
    written.map(({ number }) => number),
    written.map(({ message }) => readableText(message.provider)),
    written.map(({ message }) => readableText(message.device)),
    written.map(({ message }) => readableText(message.id)),
    written.map(({ settlement, message }) => sessionKeyOf(settlement.rows, message.key)),
    written.map(({ settlement }) => settledStatus(settlement)),
    written.map(({ settlement }) => settlement.owner),
    written.map(({ settlement }) => readableText(settlement.nodeId)),
    written.map(({ settlement }) => settlement.rows[0]?.fencingToken ?? null),
    written.map(({ settlement }) => errorText(settlement.error)),
    written.map(({ settlement: { response } }) => response && Buffer.from(response)),
    written.map(({ settlement, message }) =>
      isKept(settlement) ? null : toMicros(message.retentionMs ?? settlement.retentionMs),
    ),
  ]
}

function stepArguments(settlements: readonly Settlement[]): unknown[] {
  const steps = settlements.flatMap(({ rows, step }, index) =>
    step === undefined ? [] : [{ key: bytes(rows[0]?.key ?? ''), number: index + 1, step }],
  )
  return [
    steps.map(({ key }) => key),
    steps.map(({ number }) => number),
    steps.map(({ step }) => step.next),
    steps.map(({ step }) => (step.next === 'retry' ? toMicros(step.afterMs) : 0)),
  ]
}

/** A message without a session is held under its own key, which is no session's. */
function sessionKeyOf([held]: readonly RowHeld[], messageKey: string): string | Buffer | null {
  return held === undefined || held.key === messageKey ? null : bytes(held.key)
}

/** Marks the rows stale and clears their owner. Returns them as they were. */
export async function releaseBatch(
  query: Query,
  { prefix }: Names,
  lockWaitMs: number,
  rowKeys: readonly string[],
  { onlyStale = false }: ReleaseOptions,
): Promise<SessionRow[]> {
  if (rowKeys.length === 0) return []
  const [answer] = await query({
    sql: `SELECT ${prefix}release($1::integer, $2::bytea[], $3::boolean)`,
    values: [lockWaitMs, rowKeys.map(bytes), onlyStale],
  })
  const rows = (JSON.parse(answer?.[0] ?? '') as SessionAnswer[]).map(sessionRow)
  const found = new Map(rows.map((row) => [row.key, row]))
  return rowKeys.map((key) => found.get(key)).filter((row) => row !== undefined)
}
