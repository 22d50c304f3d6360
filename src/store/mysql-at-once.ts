/**
 * The usual batch in one round trip: its statements and COMMIT go as one text. A claim is unusual where its row is
 * somebody else's or its message is handled; a settlement where its row is not simply there.
 */
import { claimBatch, keysOf, MOMENT_MS, wantedRows } from './mysql-claim.ts'
import type { Answer, Session } from './mysql-connection.ts'
import { isCountRefused } from './mysql-errors.ts'
import { settleBatch, settledMessages, settleOneByOne } from './mysql-settle.ts'
import {
  byKey,
  deleteUncontended,
  FOUND,
  findForNewRows,
  holdsOf,
  type RowToTake,
  type TableNames,
  takeRows,
  writeMessages,
} from './mysql-statements.ts'
import { integer, text } from './mysql-values.ts'
import { type Claim, type ClaimVerdict, type Settlement, type SettlementVerdict, StoreError } from './store.ts'

/**
 * Takes the rows and looks, and commits before anybody has judged: who has its row by then and nothing against it, has
 * acquired. All others are judged in a transaction of their own, which gives back what is not theirs.
 */
export async function claimAtOnce(
  session: Session,
  names: TableNames,
  claims: readonly Claim[],
): Promise<ClaimVerdict[]> {
  const wanted = claims.flatMap(wantedRows)
  // Of several rows, one that is committed before the others are had would be held by somebody who waits.
  const isUsual =
    claims.length > 0 && claims.every(({ parts: [part], parts: { length } }) => length === 1 && part?.rows.length === 1)
  if (!isUsual) return session.transaction((query) => claimBatch(query, names, claims))
  const keys = keysOf(claims)
  const [, found] = await session.atOnce([
    takeRows(names, wanted),
    findForNewRows(names, keys.rows, keys.messages, keys.direct),
  ])
  const tokens = tokensOf(wanted, found as Answer)
  const verdicts = claims.map((claim): ClaimVerdict | undefined => {
    const fencingToken = tokens.get(claim)
    return fencingToken === undefined
      ? undefined
      : [{ outcome: 'acquired', fencingToken, takeover: null, completed: [] }]
  })
  const others = claims.filter((_, index) => !verdicts[index])
  if (others.length === 0) return verdicts as ClaimVerdict[]
  try {
    const judged = await session.transaction((query) => claimBatch(query, names, others))
    return verdicts.map((verdict) => verdict ?? (judged.shift() as ClaimVerdict))
  } catch (error) {
    throw otherwise(error as StoreError, verdicts)
  }
}

/** The tokens of those claims that have their rows, and nothing against them. */
function tokensOf(wanted: readonly RowToTake[], { rows: [clock, ...against] }: Answer): Map<Claim, number> {
  const tokens = new Map<Claim, number>()
  const lines = text(clock?.[FOUND.text]).split('\n')
  const inOrder = byKey(wanted, ({ row }) => row.key)
  if (lines.length !== inOrder.length) return tokens
  const refused = new Set(against.map((row) => text(row[FOUND.key])))
  // From the last row to the first: rows are stamped in their order, and what came next after a moment did not wait.
  let next = integer(clock?.[FOUND.clock])
  for (let index = inOrder.length - 1; index >= 0; index--) {
    const { claim, part, row } = inOrder[index] as RowToTake
    const [stamp, owner] = (lines[index] as string).split(' ')
    if (owner !== claim.owner) continue
    const fencingToken = Number(stamp)
    // A token is the row's stamp, unless this node has seen a larger one.
    const isStamped = fencingToken > claim.tokenAbove + 1 && next - fencingToken <= MOMENT_MS * 1000
    if (isStamped && !refused.has(row.key) && !part.messages.some(({ key }) => refused.has(key)))
      tokens.set(claim, fencingToken)
    next = fencingToken
  }
  return tokens
}

/** The others may have rows that were committed, so that they have to be given back. */
function otherwise(error: StoreError, verdicts: ReadonlyArray<ClaimVerdict | undefined>): StoreError {
  const { kind, message, cause } = error
  const lost = new StoreError(kind, message, { cause, answerLost: true })
  if (!verdicts.some((verdict) => verdict)) return lost
  return new StoreError(kind, message, {
    cause,
    answerLost: true,
    verdicts: verdicts.map((verdict) => verdict ?? lost),
  })
}

/** Ends the leases. The usual case is that all are held and nobody waits; else nothing has happened. */
export async function settleAtOnce(
  session: Session,
  names: TableNames,
  settlements: readonly Settlement[],
): Promise<SettlementVerdict[]> {
  const written = settledMessages(settlements)
  const isUsual = written.length > 0 && settlements.every(({ step }) => !step)
  if (!isUsual) return session.transaction((query) => settleBatch(query, names, settlements))
  const holds = holdsOf(settlements)
  try {
    await session.atOnce([deleteUncontended(names, holds), writeMessages(names, written, holds.length)])
    return settlements.map(() => 'settled')
  } catch (error) {
    if (!isCountRefused(error)) throw error
    return session.transaction((query) => settleOneByOne(query, names, settlements))
  }
}
