/** Looking inside: who holds what, and what was handled. */
import type { QueueDepth } from '../store/queue.ts'
import {
  type About,
  MESSAGE_STATUSES,
  type MessageFilter,
  type MessageRow,
  type MessageStatus,
  type SessionRow,
  type Store,
  type StoreStats,
} from '../store/store.ts'
import type { Claims } from './claims.ts'
import type { Engine } from './engine.ts'
import { endOfSessionKey, partsOfKey } from './keys.ts'
import {
  aMoment,
  isBoolean,
  milliseconds,
  type OptionCheck,
  oneOf,
  requireOptions,
  wholeNumber,
} from './option-checks.ts'
import type { OutcomeCounts } from './report.ts'

/** A session that is held now. Times are epoch milliseconds by the store's clock. */
export interface SessionInfo extends SessionRow {
  /** The ids of the messages in its holder's hands. */
  readonly messageIds: readonly string[]
}

/** What a node knows of itself, beside what the store knows of all. */
export interface LockStats extends StoreStats {
  /** What waits in the inbox, on all nodes; null where the store has no queue. */
  readonly queue: QueueDepth | null
  readonly node: OutcomeCounts & {
    readonly nodeId: string
    /** Deliveries whose handler runs here now. */
    readonly holding: number
    /** Requests that wait here for their turn. */
    readonly waiting: number
    readonly storeErrors: number
    /** Group commit: transactions written, and the operations in them. */
    readonly batches: number
    readonly operations: number
  }
}

export interface Inspection {
  /**
   * The sessions held now, the longest first. Those of a prospect, device or node are looked for among the first 10 000.
   *
   * @throws OptionsError naming what is unknown or impossible in the filter; so does `messages`.
   * @example
   * for (const session of await lock.sessions()) console.log(session.prospect, session.nodeId, session.stale)
   */
  sessions(filter?: SessionsFilter): Promise<SessionInfo[]>
  /**
   * Messages: those in hand now (`processing`) and those that wait (`queued`) first, then those that were handled, the
   * latest first.
   */
  messages(filter?: MessagesFilter): Promise<MessageRow[]>
  /**
   * What is known by this name: a message's id, a prospect, a session's name, or a key; of its messages 1 000, in the
   * order of `messages`. No index serves it: of a large table it takes the database a second or two. Redis looks
   * through the latest 10 000 messages only.
   */
  find(name: string): Promise<Found>
  stats(): Promise<LockStats>
}

/** Everything known by one name. */
export interface Found {
  readonly sessions: readonly SessionInfo[]
  readonly messages: readonly MessageRow[]
}

export interface SessionsFilter {
  /** true: only those whose holder has crashed or hangs; false: only live ones. */
  readonly stale?: boolean
  readonly prospect?: string
  readonly device?: string
  readonly nodeId?: string
  /** Held for at least so long, by the store's clock. */
  readonly heldForMs?: number
  /** At most this many. Default 100. */
  readonly limit?: number
}

export interface MessagesFilter {
  readonly status?: MessageStatus
  /** The prospect whose messages they are, or the name of the session. */
  readonly session?: string
  /** Handled to an end at or after this, or still in hand: epoch milliseconds by the store's clock. */
  readonly since?: number
  /** At most this many. Default 100. */
  readonly limit?: number
}

/** So many rows are looked through for what a store cannot look for. */
export const LOOKED_THROUGH = 10_000
const MOST_FOUND = 1000

const aText: OptionCheck = [(value) => typeof value === 'string', 'takes a string']
const SESSIONS_CHECKS: Readonly<Record<keyof SessionsFilter, OptionCheck>> = {
  stale: [isBoolean, 'takes true or false'],
  prospect: aText,
  device: aText,
  nodeId: aText,
  heldForMs: milliseconds(0),
  limit: wholeNumber(0),
}
const MESSAGES_CHECKS: Readonly<Record<keyof MessagesFilter, OptionCheck>> = {
  status: oneOf(...MESSAGE_STATUSES),
  session: aText,
  since: aMoment,
  limit: wholeNumber(0),
}

export function createInspection(engine: Engine, claims: Claims): Inspection {
  async function sessions(filter: SessionsFilter = {}): Promise<SessionInfo[]> {
    const { limit = 100, stale } = requireOptions(filter, SESSIONS_CHECKS, 'filter')
    const store = await engine.store()
    const narrowed = [filter.prospect, filter.device, filter.nodeId, filter.heldForMs].some((one) => one !== undefined)
    const rows = await store.sessions({
      limit: narrowed ? LOOKED_THROUGH : limit,
      ...(stale !== undefined && { stale }),
    })
    const now = storeTime(rows, Date.now())
    return rows
      .filter((row) => fits(row, filter, now))
      .slice(0, limit)
      .map(sessionInfo)
  }

  async function messages(filter: MessagesFilter = {}): Promise<MessageRow[]> {
    const { status, limit = 100, session, since } = requireOptions(filter, MESSAGES_CHECKS, 'filter')
    const store = await engine.store()
    const atMost = session === undefined && since === undefined ? limit : LOOKED_THROUGH
    const about = session === undefined ? undefined : aboutOf(session)
    const isAsked = (row: MessageRow) =>
      (session === undefined || sessionNameOf(row) === session) &&
      (since === undefined || row.finishedAt === null || row.finishedAt >= since)
    return (await messagesOf(store, { limit: atMost, ...(status && { status }), ...(about && { about }) }))
      .filter(isAsked)
      .slice(0, limit)
  }

  async function messagesOf(store: Store, filter: MessageFilter): Promise<MessageRow[]> {
    const { status, limit } = filter
    const inHand =
      status === undefined || status === 'processing' ? messagesInHand(await store.sessions({ limit })) : []
    const rows = await store.messages(filter)
    const keys = new Set(inHand.map((row) => row.key))
    return [...inHand, ...rows.filter((row) => !keys.has(row.key))]
  }

  async function find(name: string): Promise<Found> {
    const store = await engine.store()
    const held = (await store.sessions({ limit: LOOKED_THROUGH })).map(sessionInfo).filter((row) => isNamed(row, name))
    const inHand = messagesInHand(held)
    const keys = new Set(inHand.map(({ key }) => key))
    const rows = (await store.messages({ about: aboutOf(name), limit: MOST_FOUND })).filter(
      // What only ends alike is another one's.
      (row) => !keys.has(row.key) && [row.key, row.messageId, row.sessionKey, sessionNameOf(row)].includes(name),
    )
    return { sessions: held, messages: [...inHand, ...rows] }
  }

  async function stats(): Promise<LockStats> {
    const store = await engine.store()
    const { claims: claimed, renewals, settlements } = engine
    const written = [claimed.counts(), renewals.counts(), settlements.counts()]
    return {
      ...(await store.stats()),
      queue: (await store.queue?.depth()) ?? null,
      node: {
        nodeId: engine.options.nodeId,
        ...claims.counts(),
        storeErrors: engine.storeErrors(),
        batches: written.reduce((sum, { batches }) => sum + batches, 0),
        operations: written.reduce((sum, { items }) => sum + items, 0),
      },
    }
  }

  return { sessions, messages, find, stats }
}

function fits(row: SessionRow, { prospect, device, nodeId, heldForMs }: SessionsFilter, now: number): boolean {
  return (
    (prospect === undefined || row.prospect === prospect) &&
    (device === undefined || row.device === device) &&
    (nodeId === undefined || row.nodeId === nodeId) &&
    (heldForMs === undefined || now - row.lockedAt >= heldForMs)
  )
}

/** By whatever people may call it. */
function isNamed({ key, prospect, messageIds, messageKeys }: SessionInfo, name: string): boolean {
  return [key, prospect].includes(name) || nameInKey(key) === name || [...messageIds, ...messageKeys].includes(name)
}

function aboutOf(name: string): About {
  return { name, sessionEnding: endOfSessionKey(name) }
}

/** Who a message's session is: its prospect, or the session's own name; null where it has none that can be read. */
export function sessionNameOf({ sessionKey }: Pick<MessageRow, 'sessionKey'>): string | null {
  return sessionKey === null ? null : nameInKey(sessionKey)
}

/** Of a session's key; null of a message's, which is held under its own. */
function nameInKey(key: string): string | null {
  return /^[sn]:/.test(key) ? (partsOfKey(key)?.at(-1) ?? null) : null
}

/**
 * The store's clock, as near as the rows tell: this machine's, but no earlier than anything that has
 * happened and no later than a live lease's end.
 */
export function storeTime(rows: readonly SessionRow[], here: number): number {
  let soonest = here
  let latest = Number.NEGATIVE_INFINITY
  for (const { stale, expiresAt, renewedAt } of rows) {
    if (!stale) soonest = Math.min(soonest, expiresAt)
    latest = Math.max(latest, stale ? expiresAt : renewedAt)
  }
  return Math.max(soonest, latest)
}

/** A row of the table as people see it. */
export function sessionInfo(row: SessionRow): SessionInfo {
  return { ...row, messageIds: row.messageKeys.map(messageIdOf) }
}

/** A message's id, from its key; the key itself where it was too long to be kept as it is. */
function messageIdOf(key: string): string {
  return partsOfKey(key)?.[2] ?? key
}

function messagesInHand(rows: readonly SessionRow[]): MessageRow[] {
  return rows.flatMap((row) =>
    row.messageKeys.map((key): MessageRow => {
      const [provider, device] = partsOfKey(key) ?? []
      return {
        key,
        provider: provider ?? '',
        device: device ?? null,
        messageId: messageIdOf(key),
        sessionKey: row.key,
        status: 'processing',
        owner: row.owner,
        nodeId: row.nodeId,
        fencingToken: row.fencingToken,
        attempts: 0,
        lastError: null,
        receivedAt: null,
        startedAt: row.lockedAt,
        finishedAt: null,
        expiresAt: row.expiresAt,
      }
    }),
  )
}
