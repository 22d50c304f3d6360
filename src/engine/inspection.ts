/** Looking inside: who holds what, what was handled, and the means to step in. */
import type { MessageRow, MessageStatus, SessionRow, StoreStats } from '../store/store.ts'
import type { Claims } from './claims.ts'
import { cleanUp, type Removed } from './cleaning.ts'
import { throughConflicts } from './conflicts.ts'
import type { Engine } from './engine.ts'
import { KeyError } from './errors.ts'
import { partsOfKey } from './keys.ts'
import { deliveryOf, planDelivery, type RunKey } from './plan.ts'
import { pause } from './port.ts'
import type { OutcomeCounts } from './report.ts'

/** A session that is held now. Times are epoch milliseconds by the store's clock. */
export interface SessionInfo extends SessionRow {
  /** The ids of the messages in its holder's hands. */
  readonly messageIds: readonly string[]
}

/** What a node knows of itself, beside what the store knows of all. */
export interface LockStats extends StoreStats {
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
   * The sessions held now, the longest first.
   *
   * @example
   * for (const session of await lock.sessions()) console.log(session.prospect, session.nodeId, session.stale)
   */
  sessions(filter?: SessionsFilter): Promise<SessionInfo[]>
  /** Messages that were handled, the latest first; those in hand now have the status `processing`. */
  messages(filter?: MessagesFilter): Promise<MessageRow[]>
  stats(): Promise<LockStats>
  /**
   * Releases a session by force: its row is marked stale and its owner cleared, so that the holder's
   * next renewal is refused, its signal aborts, and the next claim takes over. Resolves to the session
   * as it was, or undefined where nobody holds it.
   */
  release(key: RunKey): Promise<SessionInfo | undefined>
  /** Removes expired messages, and rows abandoned for longer than `maxHoldMs`, in small batches with rests. */
  cleanup(): Promise<Removed>
  /** Makes the tables where they are missing; resolves to the migrations it applied. */
  migrate(): Promise<readonly string[]>
}

export interface SessionsFilter {
  /** true: only those whose holder has crashed or hangs; false: only live ones. */
  readonly stale?: boolean
  readonly prospect?: string
  readonly device?: string
  /** At most this many. Default 100. */
  readonly limit?: number
}

export interface MessagesFilter {
  readonly status?: MessageStatus
  /** At most this many. Default 100. */
  readonly limit?: number
}

const ALL = 10_000

export function createInspection(engine: Engine, claims: Claims): Inspection {
  async function sessions(filter: SessionsFilter = {}): Promise<SessionInfo[]> {
    const { prospect, device, limit = 100, stale } = filter
    const store = await engine.store()
    const narrowed = prospect !== undefined || device !== undefined
    const rows = await store.sessions({ limit: narrowed ? ALL : limit, ...(stale !== undefined && { stale }) })
    return rows
      .filter((row) => prospect === undefined || row.prospect === prospect)
      .filter((row) => device === undefined || row.device === device)
      .slice(0, limit)
      .map(sessionInfo)
  }

  async function messages({ status, limit = 100 }: MessagesFilter = {}): Promise<MessageRow[]> {
    const store = await engine.store()
    const inHand =
      status === undefined || status === 'processing' ? messagesInHand(await store.sessions({ limit })) : []
    const rows = await store.messages({ limit, ...(status !== undefined && { status }) })
    const keys = new Set(inHand.map((row) => row.key))
    return [...inHand, ...rows.filter((row) => !keys.has(row.key))].slice(0, limit)
  }

  async function stats(): Promise<LockStats> {
    const store = await engine.store()
    const { claims: claimed, renewals, settlements } = engine
    const written = [claimed.counts(), renewals.counts(), settlements.counts()]
    return {
      ...(await store.stats()),
      node: {
        nodeId: engine.options.nodeId,
        ...claims.counts(),
        storeErrors: engine.storeErrors(),
        batches: written.reduce((sum, { batches }) => sum + batches, 0),
        operations: written.reduce((sum, { items }) => sum + items, 0),
      },
    }
  }

  async function release(key: RunKey): Promise<SessionInfo | undefined> {
    const rows = planDelivery(deliveryOf(key), engine.options.scope).parts.flatMap((part) => part.rows)
    if (rows.length === 0) throw new KeyError('key', 'names nothing: give prospect (and device), session, or messageId')
    const store = await engine.store()
    const [released] = await throughConflicts(engine.port, engine.options.storeTimeoutMs, () =>
      store.release(rows.map((row) => row.key)),
    )
    if (!released) return undefined
    const info = sessionInfo(released)
    const { prospect, device, owner, messageIds, nodeId } = info
    const names = [prospect, device].filter((name) => name !== null)
    engine.log.releasedByForce({ names: [names.join(' · ')], messageIds, owner: owner ?? '' }, nodeId)
    return info
  }

  async function cleanup(): Promise<Removed> {
    const { port } = engine
    return cleanUp(engine, await engine.store(), async (forMs) => {
      await pause(port, forMs, 'awaited')
      return true
    })
  }

  return { sessions, messages, stats, release, cleanup, migrate: async () => (await engine.store()).migrate() }
}

function sessionInfo(row: SessionRow): SessionInfo {
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
        finishedAt: null,
        expiresAt: row.expiresAt,
      }
    }),
  )
}
