/** What the stores share about rows: the shapes they keep, and how text and lists are written. */
import type { About, MessageRow, MessageStatus, SessionRow, Settlement } from './store.ts'

/** The most characters of an error's text that are kept. */
const MAX_ERROR_CHARACTERS = 1000

/** A row of the session table as a store in this process keeps it; whether it is stale depends on when one looks. */
export type StoredSession = Omit<SessionRow, 'stale' | 'strategy'>

/** A row of the message table as a store keeps it. */
export interface StoredMessage extends MessageRow {
  /** What the settlement stored as the answer, if anything. */
  readonly response: Uint8Array | null
}

/** What a settlement makes of its messages; where it is `released` they are not touched. */
export function settledStatus({ outcome, step }: Settlement): MessageStatus {
  if (outcome === 'completed' || !step) return outcome === 'completed' ? 'completed' : 'failed'
  return step.next === 'retry' || step.next === 'give-back' ? 'queued' : 'dead'
}

/** true: its messages stay in line, dead or not, and are not forgotten. */
export function isKept(settlement: Settlement): boolean {
  const status = settledStatus(settlement)
  return status === 'queued' || (status === 'dead' && settlement.step?.next === 'stop')
}

/** The row as people see it at this moment (`now`: the store's clock, epoch milliseconds). */
export function toSessionRow(row: StoredSession, now: number): SessionRow {
  return { ...row, stale: row.expiresAt <= now, strategy: 'lease' }
}

/** The row as people see it: without the answer that was stored. */
export function toMessageRow({ response: _, ...row }: StoredMessage): MessageRow {
  return row
}

/** The order that messages are listed in: unfinished ones first, then the latest. */
export function byLatest(a: MessageRow, b: MessageRow): number {
  const endOf = ({ finishedAt }: MessageRow) => finishedAt ?? Number.MAX_SAFE_INTEGER
  return endOf(b) - endOf(a)
}

/** Is it what somebody means by this name? */
export function isAbout(
  { key, messageId, sessionKey }: StoredMessage | MessageRow,
  { name, sessionEnding }: About,
): boolean {
  return [key, messageId, sessionKey].includes(name) || (sessionKey?.endsWith(sessionEnding) ?? false)
}

/**
 * Text for the readable columns (prospect, device, message id): the same for any ordinary text,
 * with what databases refuse made visible, NUL as `␀` and a lone surrogate as `�`. Keys need no
 * such treatment; they come encoded.
 */
export function readableText(value: string): string
export function readableText(value: string | null): string | null
export function readableText(value: string | null): string | null {
  if (value === null || (value.isWellFormed() && !value.includes('\0'))) return value
  return value.toWellFormed().replaceAll('\0', '\u2400')
}

/** An error's text as it is kept: readable, and at most 1000 characters long. */
export function errorText(error: string | null): string | null {
  return error === null ? null : readableText(error.slice(0, MAX_ERROR_CHARACTERS))
}

/** The column `message_ids`: the keys of the messages in hand, as a JSON array. */
export function encodeMessageKeys(keys: readonly string[]): string {
  return JSON.stringify(keys)
}

/** Reads what {@link encodeMessageKeys} wrote. */
export function decodeMessageKeys(text: string): string[] {
  return JSON.parse(text) as string[]
}
