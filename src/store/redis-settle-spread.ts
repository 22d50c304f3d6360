/**
 * Renewals, settlements and forced releases on a cluster, each asked of the buckets that it concerns. Mostly that is
 * one. A settlement of several takes this order, and is right wherever it breaks off:
 *
 * 1. All its rows are looked at. Where one is no longer ours, the settlement is lost and touches nothing.
 * 2. The deciding bucket is settled: the home of its first message.
 * 3. The others are.
 *
 * Each message is written by the script that finds the row beside it still ours, and removes that: so no zombie
 * completes anything, and nobody who gets the row afterwards finds a completed message open. Where it breaks off
 * before step 2 is done, nothing has happened, and the repeat begins anew. After that, the repeat finds its own owner
 * and token on the message of the deciding bucket, and settles what is left. Where nobody repeats it (a crash), rows
 * are left until they are stale, and what is not written yet is handled again, as after any crash before the
 * settlement. A row that somebody takes between the steps is lost with the messages that are at home beside it.
 */
import { type Buckets, byBucket, forEach, gather } from './redis-buckets.ts'
import { rowsAt } from './redis-inspect.ts'
import { releaseBatch, renewBatch, type SettlementHere, settleBatch } from './redis-settle.ts'
import type {
  ReleaseOptions,
  Renewal,
  RenewalVerdict,
  RowHeld,
  SessionRow,
  Settlement,
  SettlementVerdict,
} from './store.ts'

/** Each renewal by itself. */
export function renewSpread(buckets: Buckets, renewals: readonly Renewal[]): Promise<RenewalVerdict[]> {
  const renew = gather(buckets, renewBatch)
  return forEach(renewals, async (renewal) => {
    const held = new Set<string>()
    const ask = async ([bucket, rows]: [number, RowHeld[]]) => {
      const verdict = await renew(bucket, { ...renewal, rows })
      for (const [index, { key }] of rows.entries()) if (verdict[index]) held.add(key)
    }
    await Promise.all([...rowsByBucket(buckets, renewal.rows)].map(ask))
    return renewal.rows.map(({ key }) => held.has(key))
  })
}

/** Each settlement by itself. */
export function settleSpread(buckets: Buckets, settlements: readonly Settlement[]): Promise<SettlementVerdict[]> {
  const settle = gather(buckets, settleBatch)
  return forEach(settlements, async (settlement) => {
    const [first, ...others] = piecesOf(buckets, settlement)
    if (!first) return 'lost'
    if (others.length === 0) return settle(first.bucket, first.settlement)
    const held = await Promise.all([first, ...others].map((piece) => isOurs(buckets, piece)))
    // Where the deciding rows are gone, it may be by our own first try, whose answer was lost: its script can tell.
    if (held[0] && held.includes(false)) return 'lost'
    return settleAll(settle, first, others)
  })
}

/** What of a settlement lies in one bucket. */
interface Piece {
  readonly bucket: number
  readonly settlement: SettlementHere
}

/** The deciding one first. */
function piecesOf(buckets: Buckets, settlement: Settlement): Piece[] {
  const { rows, messages } = settlement
  const sessionKey = rows[0]?.key ?? null
  const pieces = [...rowsByBucket(buckets, rows)].map(([bucket, here]) => ({
    bucket,
    settlement: {
      ...settlement,
      sessionKey,
      rows: here,
      messages: messages.filter(({ home }) => buckets.of(home) === bucket),
    },
  }))
  const deciding = messages[0] && buckets.of(messages[0].home)
  return pieces.sort((one, other) => Number(other.bucket === deciding) - Number(one.bucket === deciding))
}

async function isOurs(buckets: Buckets, { bucket, settlement }: Piece): Promise<boolean> {
  const { owner, rows } = settlement
  const found = await rowsAt(
    buckets.in(bucket),
    rows.map(({ key }) => key),
  )
  const tokens = new Map(found.map((row) => [row.key, row.owner === owner ? row.fencingToken : undefined]))
  return rows.every(({ key, fencingToken }) => tokens.get(key) === fencingToken)
}

async function settleAll(
  settle: (bucket: number, settlement: SettlementHere) => Promise<SettlementVerdict>,
  first: Piece,
  others: readonly Piece[],
): Promise<SettlementVerdict> {
  const decision = await settle(first.bucket, first.settlement)
  if (decision === 'lost') {
    // Without messages it may have been our own first try, and nothing tells; the other rows are to be free as well.
    if (first.settlement.messages.length === 0)
      await Promise.all(others.map(({ bucket, settlement }) => settle(bucket, settlement)))
    return 'lost'
  }
  const verdicts = await Promise.all(others.map(({ bucket, settlement }) => settle(bucket, settlement)))
  // Rows without messages may have gone with the first try, and nothing would show.
  const isLost = others.some(({ settlement }, index) => verdicts[index] === 'lost' && settlement.messages.length > 0)
  if (isLost) return 'lost'
  return [decision, ...verdicts].includes('contended') ? 'contended' : 'settled'
}

function rowsByBucket(buckets: Buckets, rows: readonly RowHeld[]): Map<number, RowHeld[]> {
  return byBucket(rows, ({ key }) => buckets.of(key))
}

/** Marks the rows stale and clears their owner. Returns them as they were. */
export async function releaseSpread(
  buckets: Buckets,
  rowKeys: readonly string[],
  how: ReleaseOptions,
): Promise<SessionRow[]> {
  const keys = byBucket(rowKeys, buckets.of)
  const released = await Promise.all([...keys].map(([bucket, some]) => releaseBatch(buckets.in(bucket), some, how)))
  return released.flat()
}
