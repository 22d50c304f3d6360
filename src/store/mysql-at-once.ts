/**
 * The usual batch in one round trip, where the server is asked so: its statements and COMMIT go as one text. A claim is unusual where its row is
 * somebody else's or its message is handled; a settlement where its row is not simply there.
 */
import type { Found } from './decide.ts'
import { byKey } from './key-order.ts'
import { claimBatch, keysOf, MOMENT_MS, wantedRows } from './mysql-claim.ts'
import type { Answer, Session } from './mysql-connection.ts'
import { isCountRefused } from './mysql-errors.ts'
import { findForNewRows, readFound } from './mysql-find.ts'
import { settleBatch, settledMessages, settleOneByOne } from './mysql-settle.ts'
import {
  deleteHeld,
  deleteUncontended,
  type Hold,
  holdsOf,
  type RowToTake,
  type TableNames,
  takeRows,
  writeMessages,
} from './mysql-statements.ts'
import {
  type Claim,
  type ClaimVerdict,
  type PartVerdict,
  type Settlement,
  type SettlementVerdict,
  StoreError,
} from './store.ts'

/**
 * Takes the rows and looks, and commits before anybody has judged: who has its row by then and nothing against it has
 * acquired. Who has it for a message that is completed gives it back, and all others are judged in a transaction of
 * their own.
 */
export async function claimAtOnce(
  { atOnce, transaction }: Session,
  names: TableNames,
  claims: readonly Claim[],
): Promise<ClaimVerdict[]> {
  const wanted = claims.flatMap(wantedRows)
  // Of several rows, one that is committed before the others are had would be held by somebody who waits.
  const isUsual =
    claims.length > 0 && claims.every(({ parts: [part], parts: { length } }) => length === 1 && part?.rows.length === 1)
  if (!atOnce || !isUsual) return transaction((query) => claimBatch(query, names, claims))
  const keys = keysOf(claims)
  const [, found] = await atOnce([
    takeRows(names, wanted),
    findForNewRows(names, keys.rows, keys.messages, keys.direct),
  ])
  const told = lookAt(wanted, found as Answer)
  const others = claims.filter((claim) => !told.has(claim))
  const toGiveBack = [...told.values()].filter(({ verdict }) => verdict.outcome !== 'acquired').map(({ hold }) => hold)
  try {
    if (toGiveBack.length > 0) await atOnce([deleteHeld(names, toGiveBack)])
    const judged = others.length > 0 ? await transaction((query) => claimBatch(query, names, others)) : []
    return claims.map((claim) => verdictIn(told, claim) ?? (judged.shift() as ClaimVerdict))
  } catch (error) {
    throw otherwise(error as StoreError, claims, told)
  }
}

/** What one look has told of a claim. */
interface Told {
  readonly verdict: PartVerdict
  /** Its row. */
  readonly hold: Hold
}

function verdictIn(told: ReadonlyMap<Claim, Told>, claim: Claim): ClaimVerdict | undefined {
  const known = told.get(claim)
  return known && [known.verdict]
}

/** Of those claims that have their rows, and of which nothing else has to be known. */
function lookAt(wanted: readonly RowToTake[], { rows }: Answer): Map<Claim, Told> {
  const told = new Map<Claim, Told>()
  const found = readFound(rows)
  const lines = found.tokens.split('\n')
  const inOrder = byKey(wanted, ({ row }) => row.key)
  if (lines.length !== inOrder.length) return told
  // From the last row to the first: rows are stamped in their order, and what came next after a moment did not wait.
  let next = found.tokenFloor
  for (let index = inOrder.length - 1; index >= 0; index--) {
    const wantedRow = inOrder[index] as RowToTake
    const { claim, row } = wantedRow
    const [stamp, owner] = (lines[index] as string).split(' ')
    if (owner !== claim.owner) continue
    const fencingToken = Number(stamp)
    // A token is the row's stamp, unless this node has seen a larger one.
    const isStamped = fencingToken > claim.tokenAbove + 1 && next - fencingToken <= MOMENT_MS * 1000
    const verdict = isStamped ? verdictOf(wantedRow, fencingToken, found) : undefined
    if (verdict) told.set(claim, { verdict, hold: [row.key, owner, fencingToken] })
    next = fencingToken
  }
  return told
}

function verdictOf(
  { part, row }: RowToTake,
  fencingToken: number,
  { completed, queued }: Pick<Found, 'completed' | 'queued'>,
): PartVerdict | undefined {
  const { messages } = part
  if (queued?.has(row.key) || messages.some(({ key }) => queued?.has(key))) return undefined
  const done = messages.flatMap(({ key }) => completed.get(key) ?? [])
  if (done.length === 0) return { outcome: 'acquired', fencingToken, takeover: null, completed: done }
  return done.length === messages.length ? { outcome: 'completed', completed: done } : undefined
}

/** Who has not acquired may have a row that was committed, so that it has to be given back. */
function otherwise(error: StoreError, claims: readonly Claim[], told: ReadonlyMap<Claim, Told>): StoreError {
  const { kind, message, cause } = error
  const lost = new StoreError(kind, message, { cause, answerLost: true })
  const verdicts = claims.map((claim) => {
    const verdict = verdictIn(told, claim)
    return verdict?.[0]?.outcome === 'acquired' ? verdict : lost
  })
  if (verdicts.every((verdict) => verdict === lost)) return lost
  return new StoreError(kind, message, { cause, answerLost: true, verdicts })
}

/** Ends the leases. The usual case is that all are held and nobody waits; else nothing has happened. */
export async function settleAtOnce(
  { atOnce, transaction }: Session,
  names: TableNames,
  settlements: readonly Settlement[],
): Promise<SettlementVerdict[]> {
  const written = settledMessages(settlements)
  const isUsual = written.length > 0 && settlements.every(({ step }) => !step)
  if (!atOnce || !isUsual) return transaction((query) => settleBatch(query, names, settlements))
  const holds = holdsOf(settlements)
  try {
    await atOnce([deleteUncontended(names, holds), writeMessages(names, written, holds.length)])
    return settlements.map(() => 'settled')
  } catch (error) {
    if (!isCountRefused(error)) throw error
    return transaction((query) => settleOneByOne(query, names, settlements))
  }
}
