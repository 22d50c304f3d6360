/** A message's story, out of what its row remembers. */
import type { MessageRow } from '../store/store.ts'

/** Something that happened to a message, or will: epoch milliseconds by the store's clock. */
export interface Moment {
  readonly at: number
  readonly what: string
}

/** What is known of it. */
type Known = Pick<
  MessageRow,
  | 'status'
  | 'attempts'
  | 'lastError'
  | 'nodeId'
  | 'fencingToken'
  | 'receivedAt'
  | 'startedAt'
  | 'finishedAt'
  | 'expiresAt'
>

/** In order of time. */
export function momentsOf(row: Known): Moment[] {
  const by = row.nodeId === null ? '' : ` by ${row.nodeId}`
  const token = row.fencingToken === null ? '' : `, fencing token ${row.fencingToken}`
  const moments: Moment[] = []
  if (row.receivedAt !== null) moments.push({ at: row.receivedAt, what: 'stored by the inbox' })
  if (row.startedAt !== null) moments.push({ at: row.startedAt, what: `taken in hand${by}${token}` })
  if (row.finishedAt !== null) moments.push({ at: row.finishedAt, what: endOf(row, by) })
  if (row.expiresAt !== null) moments.push({ at: row.expiresAt, what: expiryOf(row) })
  return moments.sort((a, b) => a.at - b.at)
}

/** As ISO 8601 has it; undefined of what lies beyond all dates, and so never comes. */
export function isoTime(at: number): string | undefined {
  const date = new Date(at)
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString()
}

function endOf({ status, attempts, lastError }: Known, by: string): string {
  const tries = attempts > 1 ? `, after ${attempts} tries` : ''
  return `${status}${by}${tries}${lastError === null ? '' : `: ${lastError}`}`
}

function expiryOf({ status }: Known): string {
  return status === 'processing'
    ? 'its lease runs out unless it is renewed'
    : 'forgotten: a redelivery is new from then on'
}
