/** A batch of claims, in one transaction: take or lock the rows, then look, then decide, then write what is left to write. */
import { decide, type Found, type RowFound } from './decide.ts'
import type { Query } from './mysql-connection.ts'
import { findForClaims, readFound } from './mysql-find.ts'
import {
  deleteHeld,
  type Hold,
  markContended,
  overwriteRows,
  type RowToTake,
  type TableNames,
  takeRows,
} from './mysql-statements.ts'
import type { Claim, ClaimPart, ClaimVerdict, PartVerdict } from './store.ts'

/** The verdicts; they count once the transaction has been committed. */
export async function claimBatch(query: Query, names: TableNames, claims: readonly Claim[]): Promise<ClaimVerdict[]> {
  const wanted = claims.flatMap(wantedRows)
  if (wanted.length > 0) await query(takeRows(names, wanted))
  const found = await find(query, names, claims)
  const decisions = claims.map((claim) => decide(claim, found))
  const verdicts = decisions.map((decision) => decision.verdicts)
  const changes = changesOf(claims, verdicts, found)
  const contended = decisions.flatMap((decision) => decision.markContended)
  if (changes.overwrite.length > 0) await query(overwriteRows(names, changes.overwrite))
  if (changes.giveBack.length > 0) await query(deleteHeld(names, changes.giveBack))
  if (contended.length > 0) await query(markContended(names, contended))
  return verdicts
}

export function wantedRows(claim: Claim): RowToTake[] {
  return claim.parts.flatMap((part) => part.rows.map((row) => ({ claim, part, row, token: claim.tokenAbove + 1 })))
}

/** In a statement after the one that locked, with a snapshot and a clock of its own. */
async function find(query: Query, names: TableNames, claims: readonly Claim[]): Promise<Found> {
  const asked = keysOf(claims)
  const answer = await query(findForClaims(names, asked.rows, asked.messages, asked.direct))
  const seen = readFound(answer.rows)
  markWaited(seen.rows, claims, seen.now)
  return seen
}

export function keysOf(claims: readonly Claim[]): { rows: string[]; messages: string[]; direct: string[] } {
  const keys = { rows: [] as string[], messages: [] as string[], direct: [] as string[] }
  for (const claim of claims) {
    for (const part of claim.parts) {
      for (const { key } of part.rows) keys.rows.push(key)
      for (const { key } of part.messages) keys.messages.push(key)
      if (!claim.fromQueue) for (const { key } of part.rows) keys.direct.push(key)
    }
  }
  return keys
}

/** From one row's stamp to the next one's is a moment, unless the insert waited for a lock in between. */
export const MOMENT_MS = 5

function markWaited(rows: Map<string, RowFound>, claims: readonly Claim[], now: number): void {
  const owners = new Set(claims.map((claim) => claim.owner))
  const inserted = [...rows.values()].filter((row) => row.owner !== null && owners.has(row.owner))
  inserted.sort((a, b) => a.lockedAt - b.lockedAt)
  inserted.forEach((row, index) => {
    const next = inserted[index + 1]?.lockedAt ?? now
    if (next - row.lockedAt > MOMENT_MS) rows.set(row.key, { ...row, waited: true })
  })
}

/** What the insert has not done already. */
interface Changes {
  readonly overwrite: RowToTake[]
  readonly giveBack: Hold[]
}

function changesOf(claims: readonly Claim[], verdicts: readonly ClaimVerdict[], found: Found): Changes {
  const changes: Changes = { overwrite: [], giveBack: [] }
  claims.forEach((claim, claimIndex) => {
    claim.parts.forEach((part, partIndex) => {
      const verdict = verdicts[claimIndex]?.[partIndex]
      if (verdict?.outcome === 'acquired') changes.overwrite.push(...unlikeVerdict(claim, part, verdict, found))
      else changes.giveBack.push(...ownRows(claim, part, found))
    })
  })
  return changes
}

/** The rows of a part that do not stand in the table as the verdict says. */
function unlikeVerdict(
  claim: Claim,
  part: ClaimPart,
  { fencingToken, completed }: Extract<PartVerdict, { outcome: 'acquired' }>,
  found: Found,
): RowToTake[] {
  const done = new Set(completed.map((message) => message.key))
  return part.rows
    .filter(({ key }) => {
      const row = found.rows.get(key)
      return done.size > 0 || row?.owner !== claim.owner || row.fencingToken !== fencingToken
    })
    .map((row) => ({ claim, part, row, token: fencingToken, completed: done }))
}

/** Rows just inserted, or left by a first try of this claim whose answer was lost. */
function ownRows(claim: Claim, part: ClaimPart, found: Found): Hold[] {
  return part.rows.flatMap(({ key }): Hold[] => {
    const row = found.rows.get(key)
    return row?.owner === claim.owner ? [[key, claim.owner, row.fencingToken]] : []
  })
}
