/** Renewals, settlements and forced releases: what happens to rows in somebody's hands. */

import { sessionRow } from './redis-inspect.ts'
import { integer, list, type Run, toMicros, type Value } from './redis-scripts.ts'
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
  const values: Value[] = [renewals.length]
  for (const { owner, staleAfterMs, raisedToken = 0, rows } of renewals) {
    values.push(owner, toMicros(staleAfterMs), raisedToken)
    addRows(values, rows)
  }
  const verdicts = await run('renew', values)
  return verdicts.map((verdict) => list(verdict).map((held) => integer(held) === 1))
}

/** By the script's answer. */
const VERDICTS: readonly SettlementVerdict[] = ['lost', 'settled', 'contended']

/** Ends the leases. */
export async function settleBatch(run: Run, settlements: readonly SettlementHere[]): Promise<SettlementVerdict[]> {
  if (settlements.length === 0) return []
  const values: Value[] = [settlements.length]
  const responses: Buffer[] = []
  for (const settlement of settlements) addSettlement(values, responses, settlement)
  const verdicts = await run('settle', values, responses)
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

function addRows(values: Value[], rows: readonly RowHeld[]): void {
  values.push(rows.length)
  for (const { key, fencingToken } of rows) values.push(key, fencingToken)
}

function addSettlement(values: Value[], responses: Buffer[], settlement: SettlementHere): void {
  const { owner, nodeId, outcome, error, response, rows, messages, retentionMs } = settlement
  const { sessionKey = rows[0]?.key ?? null } = settlement
  values.push(owner, readableText(nodeId), outcome, sessionKey, errorText(error))
  values.push(response === null ? null : responses.push(Buffer.from(response)))
  addRows(values, rows)
  values.push(messages.length)
  for (const message of messages) addMessage(values, message, retentionMs)
}

function addMessage(values: Value[], message: MessageRef, retentionMs: number): void {
  const { key, provider, device, id } = message
  const kept = Math.max(1, Math.round(message.retentionMs ?? retentionMs))
  values.push(key, readableText(provider), readableText(device), readableText(id), kept)
}
