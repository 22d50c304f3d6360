/** Renewals, settlements and forced releases: what happens to rows in somebody's hands. */

import type { Argument } from './redis-connection.ts'
import { sessionRow } from './redis-inspect.ts'
import { bytesArgument, integer, list, type Run, textArgument, toMicros } from './redis-scripts.ts'
import { errorText, readableText } from './rows.ts'
import type {
  MessageRef,
  ReleaseOptions,
  Renewal,
  RenewalVerdict,
  RowHeld,
  SessionRow,
  Settlement,
  SettlementVerdict,
} from './store.ts'

/** What one bucket is asked of a renewal. */
export interface RenewalHere extends Renewal {
  /** The token that the rows have from now on. Unset: they keep theirs. */
  readonly raisedToken?: number
}

/** What one bucket is asked of a settlement: its own rows, and the messages that are at home there. */
export interface SettlementHere extends Settlement {
  /** The session of the whole, where that may be another row than the first one here. */
  readonly sessionKey?: string | null
}

/** Renews every row that is still its owner's. */
export async function renewBatch(run: Run, renewals: readonly RenewalHere[]): Promise<RenewalVerdict[]> {
  if (renewals.length === 0) return []
  const args = renewals.flatMap(({ owner, staleAfterMs, raisedToken = 0, rows }) => [
    owner,
    toMicros(staleAfterMs),
    raisedToken,
    ...rowArguments(rows),
  ])
  const verdicts = await run('renew', [renewals.length, ...args])
  return verdicts.map((verdict) => list(verdict).map((held) => integer(held) === 1))
}

/** By the script's answer. */
const VERDICTS: readonly SettlementVerdict[] = ['lost', 'settled', 'contended']

/** Ends the leases. */
export async function settleBatch(run: Run, settlements: readonly SettlementHere[]): Promise<SettlementVerdict[]> {
  if (settlements.length === 0) return []
  const verdicts = await run('settle', [settlements.length, ...settlements.flatMap(settlementArguments)])
  return verdicts.map((verdict) => VERDICTS[integer(verdict)] ?? 'lost')
}

/** Marks the rows stale and clears their owner. Returns them as they were. */
export async function releaseBatch(
  run: Run,
  rowKeys: readonly string[],
  { onlyStale = false }: ReleaseOptions,
): Promise<SessionRow[]> {
  if (rowKeys.length === 0) return []
  return (await run('release', [onlyStale ? 1 : 0, rowKeys.length, ...rowKeys])).map(sessionRow)
}

function rowArguments(rows: readonly RowHeld[]): Argument[] {
  return [rows.length, ...rows.flatMap((row) => [row.key, row.fencingToken])]
}

function settlementArguments(settlement: SettlementHere): Argument[] {
  const { owner, nodeId, outcome, error, response, rows, messages, retentionMs } = settlement
  const { sessionKey = rows[0]?.key ?? null } = settlement
  return [
    owner,
    readableText(nodeId),
    outcome,
    sessionKey === null ? '-' : `+${sessionKey}`,
    textArgument(errorText(error)),
    bytesArgument(response),
    ...rowArguments(rows),
    messages.length,
    ...messages.flatMap((message) => messageArguments(message, retentionMs)),
  ]
}

function messageArguments(message: MessageRef, retentionMs: number): Argument[] {
  return [
    message.key,
    readableText(message.provider),
    textArgument(message.device),
    readableText(message.id),
    Math.max(1, Math.round(message.retentionMs ?? retentionMs)),
  ]
}
