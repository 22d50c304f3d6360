/** Rows as the admin shows them: with a handle to act on them by, and masked where that is wanted. */
import { createHash } from 'node:crypto'
import type { SessionInfo } from '../engine/inspection.ts'
import { sessionNameOf } from '../engine/inspection.ts'
import { mask } from '../engine/log.ts'
import type { MessageRow } from '../store/store.ts'

/** A session as the API and the page have it. Times are epoch milliseconds by the store's clock. */
export interface ShownSession extends Omit<SessionInfo, 'key' | 'owner' | 'messageKeys' | 'prospect'> {
  /** Names this lease of this session, without telling whose it is. */
  readonly handle: string
  /** Whose it is: its prospect, or the session's own name. */
  readonly name: string
}

/** A message as the API and the page have it. Times are epoch milliseconds by the store's clock. */
export interface ShownMessage extends Omit<MessageRow, 'key' | 'owner' | 'sessionKey'> {
  readonly handle: string
  /** Whose it is: its prospect, or the session's own name. */
  readonly session: string | null
}

/**
 * The owner is random and never shown, so that nobody finds out by trying which number a handle stands for; and all
 * nodes make the same one.
 */
function handleOf({ key, owner }: { readonly key: string; readonly owner: string | null }): string {
  return createHash('sha256').update(`${owner}\0${key}`).digest('base64url').slice(0, 22)
}

export interface Masking {
  /** A name as it may be told. */
  shown(name: string): string
  session(row: SessionInfo): ShownSession
  message(row: MessageRow): ShownMessage
  /** Those of the rows that these handles name. */
  named<Row extends { readonly key: string; readonly owner: string | null }>(
    rows: readonly Row[],
    handles: readonly string[],
  ): Row[]
}

export function createMasking(isMasked: boolean): Masking {
  const shown = isMasked ? mask : (text: string) => text
  const shownOrNull = (text: string | null) => (text === null ? null : shown(text))
  return {
    shown,
    session(row) {
      const { key, owner: _, messageKeys: __, prospect, ...rest } = row
      return {
        ...rest,
        handle: handleOf(row),
        name: shown(prospect ?? sessionNameOf({ sessionKey: key }) ?? row.messageIds[0] ?? key),
        device: shownOrNull(row.device),
        messageIds: row.messageIds.map(shown),
      }
    },
    message(row) {
      const { key: _, owner: __, sessionKey: ___, ...rest } = row
      return {
        ...rest,
        handle: handleOf(row),
        session: shownOrNull(sessionNameOf(row)),
        device: shownOrNull(row.device),
        messageId: shown(row.messageId),
        lastError: isMasked && row.lastError !== null ? maskText(row.lastError, namesOf(row)) : row.lastError,
      }
    },
    named(rows, handles) {
      const wanted = new Set(handles)
      return rows.filter((row) => wanted.has(handleOf(row)))
    },
  }
}

/** What the text of a message's error may call it, and whose it is; what holds another one comes before it. */
function namesOf(row: MessageRow): string[] {
  const names = [row.key, row.sessionKey, row.messageId, sessionNameOf(row), row.device]
  return names
    .filter((name): name is string => name !== null && name !== '')
    .toSorted((one, other) => other.length - one.length)
}

/** Digits of a number as people write it: `+1 555-000-2222`. */
const NUMBER = /\+?\d(?:[ ()./-]{0,2}\d){5,}/g
const ADDRESS = /[^\s@"'<>(),;:]+@[^\s@"'<>(),;:]+/g
/** So short a name also stands within words that have nothing to do with it. */
const MOST_WORD = 4

/** Text of which nobody knows what it holds: these names go, and whatever looks like a number or an address. */
function maskText(text: string, names: readonly string[]): string {
  const unnamed = names.reduce((rest, name) => rest.replace(asPattern(name), mask), text)
  return unnamed.replace(ADDRESS, mask).replace(NUMBER, mask)
}

function asPattern(name: string): RegExp {
  const literal = name.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')
  return new RegExp(name.length > MOST_WORD ? literal : `(?<![\\p{L}\\p{N}])${literal}(?![\\p{L}\\p{N}])`, 'giu')
}
