/** The store of one process: nothing is written anywhere, and nothing is shared. */
import { claimAll, completedMessage, releaseRow, renewRows, settleRows, type Tables } from './local.ts'
import { byLatest, isAbout, type StoredMessage, type StoredSession, toMessageRow, toSessionRow } from './rows.ts'
import {
  type CleanupOptions,
  type CleanupReport,
  type MessageFilter,
  type MessageRow,
  type MessageStatus,
  type SessionFilter,
  type SessionRow,
  type Store,
  StoreError,
  type StoreSettings,
  type StoreStats,
} from './store.ts'

/** What the memory store can be opened with. It has no tables and never waits, so the common settings change nothing. */
export interface MemorySettings extends Partial<StoreSettings> {
  /**
   * The clock: epoch milliseconds, never stepping back. Default: the time of day at the process's
   * start plus the monotonic clock since, which no adjustment of the system's time moves; else a
   * step back would keep a dead lease alive. A simulator brings its own.
   */
  readonly now?: () => number
}

/** Each settlement drops up to this many messages that have expired, so that memory stays bounded without a clean-up. */
const DROPPED_PER_SETTLEMENT = 2

/**
 * A store in this process's memory. It keeps every promise of the contract, for this one process:
 * a second process has a store of its own and knows nothing of this one.
 */
export function memoryStore(settings: MemorySettings = {}): Store {
  const sessions = new Map<string, StoredSession>()
  // In the order of their settlement, so that with one retention the first to expire stands first.
  const messages = new Map<string, StoredMessage>()
  const readClock = settings.now ?? monotonicTime
  const moment = { now: readClock(), largestToken: 0 }
  const tables = tablesOf(sessions, messages)
  const dropExpired = createDropper(messages)
  let isClosed = false

  function now(): number {
    if (isClosed) throw new StoreError('unreachable', 'session-lock: the memory store is closed')
    moment.now = readClock()
    return moment.now
  }

  return {
    name: 'memory:',
    singleProcess: true,
    inThread: true,
    migrate: async () => [],
    checkSchema: async () => {},
    async claim(claims) {
      now()
      return claimAll(tables, claims, moment)
    },
    async look(addresses) {
      const at = now()
      return addresses.map(({ key }) => completedMessage(tables, key, at)).filter((message) => message !== undefined)
    },
    async renew(renewals) {
      const at = now()
      return renewals.map((renewal) => renewRows(tables, renewal, at))
    },
    async settle(settlements) {
      const at = now()
      for (let index = 0; index < settlements.length; index++) dropExpired(at)
      return settlements.map((settlement) => settleRows(tables, settlement, at))
    },
    async release(rowKeys, how = {}) {
      const at = now()
      return rowKeys.map((key) => releaseRow(tables, key, how, at)).filter((row) => row !== undefined)
    },
    sessions: async (filter) => listSessions(sessions, filter, now()),
    async messages(filter) {
      now()
      return listMessages(messages, filter)
    },
    stats: async () => countRows(sessions, messages, now()),
    cleanup: async (options) => cleanUp(sessions, messages, options, now()),
    async close() {
      isClosed = true
    },
  }
}

function tablesOf(sessions: Map<string, StoredSession>, messages: Map<string, StoredMessage>): Tables {
  return {
    session: (key) => sessions.get(key),
    held: (key) => sessions.get(key),
    putSession: (row) => void sessions.set(row.key, row),
    removeSession: (key) => void sessions.delete(key),
    message: (key) => messages.get(key),
    putMessage(row) {
      messages.delete(row.key)
      messages.set(row.key, row)
    },
  }
}

function monotonicTime(): number {
  return Math.floor(performance.timeOrigin + performance.now())
}

/**
 * Drops some of what has expired, from where it stopped: a map keeps the places of what was removed for a while, and
 * looking from its beginning each time would go past all of them, thousands for each settlement.
 */
function createDropper(messages: Map<string, StoredMessage>) {
  let inOrder = messages.values()
  let first: StoredMessage | undefined
  return (now: number): void => {
    for (let left = DROPPED_PER_SETTLEMENT; left > 0; left--) {
      // One that was completed anew stands at the end.
      while (!first || messages.get(first.key) !== first) {
        const next = inOrder.next()
        if (next.done) {
          inOrder = messages.values()
          first = undefined
          return
        }
        first = next.value
      }
      if (!isExpired(first, now)) return
      messages.delete(first.key)
    }
  }
}

function isExpired(message: StoredMessage, now: number): boolean {
  if (message.status === 'queued' || message.status === 'processing') return false
  return message.expiresAt !== null && message.expiresAt <= now
}

function listSessions(sessions: Map<string, StoredSession>, filter: SessionFilter, now: number): SessionRow[] {
  return chosen(sessions, filter.keys)
    .filter((row) => filter.keys !== undefined || row.owner !== null)
    .map((row) => toSessionRow(row, now))
    .filter((row) => filter.stale === undefined || row.stale === filter.stale)
    .sort((a, b) => a.lockedAt - b.lockedAt)
    .slice(0, filter.limit)
}

function listMessages(messages: Map<string, StoredMessage>, filter: MessageFilter): MessageRow[] {
  return chosen(messages, filter.keys)
    .filter((row) => filter.status === undefined || row.status === filter.status)
    .filter((row) => filter.messageIds === undefined || filter.messageIds.includes(row.messageId))
    .filter((row) => filter.about === undefined || isAbout(row, filter.about))
    .sort(byLatest)
    .slice(0, filter.limit)
    .map(toMessageRow)
}

function chosen<Row>(rows: Map<string, Row>, keys: readonly string[] | undefined): Row[] {
  if (!keys) return [...rows.values()]
  return [...new Set(keys)].map((key) => rows.get(key)).filter((row) => row !== undefined)
}

function countRows(
  sessions: Map<string, StoredSession>,
  messages: Map<string, StoredMessage>,
  now: number,
): StoreStats {
  const nodes = new Map<string, { nodeId: string; sessions: number; stale: number }>()
  let staleSessions = 0
  let held = 0
  for (const row of sessions.values()) {
    if (row.owner === null || row.nodeId === null) continue
    const stale = row.expiresAt <= now ? 1 : 0
    held += 1
    staleSessions += stale
    const node = nodes.get(row.nodeId) ?? { nodeId: row.nodeId, sessions: 0, stale: 0 }
    nodes.set(row.nodeId, { nodeId: row.nodeId, sessions: node.sessions + 1, stale: node.stale + stale })
  }
  const counts: Record<MessageStatus, number> = { queued: 0, processing: 0, completed: 0, failed: 0, dead: 0 }
  for (const message of messages.values()) counts[message.status]++
  return { sessions: held, staleSessions, messages: counts, nodes: [...nodes.values()] }
}

function cleanUp(
  sessions: Map<string, StoredSession>,
  messages: Map<string, StoredMessage>,
  options: CleanupOptions,
  now: number,
): CleanupReport {
  const { limit, abandonedAfterMs } = options
  const removed = { messages: 0, sessions: 0 }
  for (const message of messages.values()) {
    if (removed.messages === limit) break
    if (isExpired(message, now) && messages.delete(message.key)) removed.messages++
  }
  for (const row of sessions.values()) {
    if (removed.sessions === limit) break
    if (row.expiresAt <= now - abandonedAfterMs && sessions.delete(row.key)) removed.sessions++
  }
  return { ...removed, more: removed.messages === limit || removed.sessions === limit }
}
