/** The filters of the command line, out of a query. What it does not know is refused: it would find more than was asked for. */
import { parseDuration } from '../engine/duration.ts'
import type { MessagesFilter, SessionsFilter } from '../engine/inspection.ts'
import { MESSAGE_STATUSES } from '../store/store.ts'

const MOST = 1000

/** A request that cannot be met, and why. */
export class AskedWrongly extends Error {}

export function sessionsFilter(query: URLSearchParams): SessionsFilter {
  allowOnly(query, ['stale', 'prospect', 'device', 'node', 'older-than', 'limit'])
  const stale = textAsked(query, 'stale')
  const prospect = textAsked(query, 'prospect')
  const device = textAsked(query, 'device')
  const nodeId = textAsked(query, 'node')
  const olderThan = textAsked(query, 'older-than')
  const heldForMs = olderThan === undefined ? undefined : parseDuration(olderThan)
  if (stale !== undefined && stale !== 'true' && stale !== 'false') {
    throw new AskedWrongly('"stale" must be true or false')
  }
  if (olderThan !== undefined && heldForMs === undefined) {
    throw new AskedWrongly('"older-than" must be a duration like 30s, 5m, 2h or 1d')
  }
  return {
    limit: limitAsked(query),
    ...(stale !== undefined && { stale: stale === 'true' }),
    ...(prospect !== undefined && { prospect }),
    ...(device !== undefined && { device }),
    ...(nodeId !== undefined && { nodeId }),
    ...(heldForMs !== undefined && { heldForMs }),
  }
}

export function messagesFilter(query: URLSearchParams): MessagesFilter {
  allowOnly(query, ['status', 'session', 'since', 'limit'])
  const asked = textAsked(query, 'status')
  const status = MESSAGE_STATUSES.find((one) => one === asked)
  const session = textAsked(query, 'session')
  const since = sinceAsked(query)
  if (asked !== undefined && !status) throw new AskedWrongly(`"status" must be one of ${MESSAGE_STATUSES.join(', ')}`)
  return {
    limit: limitAsked(query),
    ...(status && { status }),
    ...(session !== undefined && { session }),
    ...(since !== undefined && { since }),
  }
}

/** What is to be found. */
export function nameAsked(query: URLSearchParams): string {
  allowOnly(query, ['name'])
  const name = textAsked(query, 'name')
  if (!name) throw new AskedWrongly('"name" must be a prospect, a message id, a session or a key')
  return name
}

function allowOnly(query: URLSearchParams, names: readonly string[]): void {
  for (const name of query.keys()) {
    if (!names.includes(name)) throw new AskedWrongly(`"${name}" is unknown; there are: ${names.join(', ')}`)
  }
}

export function textAsked(query: URLSearchParams, name: string): string | undefined {
  const text = query.get(name) ?? undefined
  // Not every database takes it.
  if (text?.includes('\0')) throw new AskedWrongly(`"${name}" has a NUL in it, and nothing is called so`)
  return text
}

function sinceAsked(query: URLSearchParams): number | undefined {
  const since = textAsked(query, 'since')
  if (since === undefined) return undefined
  if (/^\d+$/.test(since)) return Number(since)
  const agoMs = parseDuration(since)
  if (agoMs === undefined) throw new AskedWrongly('"since" must be a duration like 1h, or epoch milliseconds')
  return Date.now() - agoMs
}

function limitAsked(query: URLSearchParams): number {
  const text = textAsked(query, 'limit') ?? '100'
  const limit = Number(text)
  if (!Number.isSafeInteger(limit) || limit < 1 || limit > MOST) {
    throw new AskedWrongly(`"limit" must be a whole number from 1 to ${MOST}`)
  }
  return limit
}
