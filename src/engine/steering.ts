/** Stepping in: releasing sessions, queueing dead messages again or giving them up, cleaning up. */
import type { Requeued } from '../store/queue.ts'
import type { MessageRow, MessageStatus, ReleaseOptions } from '../store/store.ts'
import { named } from './alias.ts'
import { cleanUp, type Removed } from './cleaning.ts'
import { throughConflicts } from './conflicts.ts'
import { type Engine, requireQueue } from './engine.ts'
import { KeyError } from './errors.ts'
import { type SessionInfo, sessionInfo, sessionNameOf } from './inspection.ts'
import { deliveryOf, planDelivery, type RunKey } from './plan.ts'
import { pause } from './port.ts'

export interface Steering {
  /**
   * Releases a session by force: its row is marked stale and its owner cleared, so that the holder's
   * next renewal is refused, its signal aborts, and the next claim takes over. Resolves to the session
   * as it was, or undefined where nobody holds it.
   */
  release(key: RunKey): Promise<SessionInfo | undefined>
  /**
   * Releases sessions by the keys that {@link SessionInfo} has: only those that are stale when their row is locked,
   * unless `force` is set. Resolves to those it released, as they were.
   *
   * @example
   * const stale = await lock.sessions({ stale: true })
   * await lock.releaseSessions(stale.map((session) => session.key))
   */
  releaseSessions(keys: readonly string[], options?: { readonly force?: boolean | undefined }): Promise<SessionInfo[]>
  /**
   * Queues dead messages of the inbox again, by their ids or keys. Resolves to how many there were. Rejects with a
   * {@link StoreError} where the store has no queue.
   */
  retry(...ids: string[]): Promise<number>
  /**
   * Completes queued or dead messages of the inbox unhandled, by their ids or keys; never one in hand. Resolves to how
   * many there were. Rejects with a {@link StoreError} where the store has no queue.
   */
  discard(...ids: string[]): Promise<number>
  /** Removes expired messages, and rows abandoned for longer than `maxHoldMs`, in small batches with rests. */
  cleanup(): Promise<Removed>
  /** Makes the tables where they are missing; resolves to the migrations it applied. */
  migrate(): Promise<readonly string[]>
}

/** So many messages one call finds by their ids. */
const MOST_MESSAGES = 10_000

export function createSteering(engine: Engine): Steering {
  const { port, options } = engine

  const repeated = <Value>(work: () => Promise<Value>) => throughConflicts(port, options.storeTimeoutMs, work)

  async function releaseRows(keys: readonly string[], how: ReleaseOptions): Promise<SessionInfo[]> {
    if (keys.length === 0) return []
    const store = await engine.store()
    const rows = await repeated(() => store.release(keys, how))
    const released = rows.filter(({ owner }) => owner !== null).map(sessionInfo)
    for (const { prospect, device, owner, messageIds, nodeId } of released) {
      const name = [prospect, device].filter((part) => part !== null).join(' · ')
      engine.log.releasedByForce({ names: [name], messageIds, owner: owner ?? '' }, nodeId)
    }
    return released
  }

  return {
    async release(key) {
      const delivery = await named(deliveryOf(key), options.alias)
      const rows = planDelivery(delivery, options.scope).parts.flatMap((part) => part.rows)
      if (rows.length === 0) {
        throw new KeyError('key', 'names nothing: give prospect (and device), session, or messageId')
      }
      const [released] = await releaseRows(
        rows.map((row) => row.key),
        {},
      )
      return released
    },
    releaseSessions: (keys, { force = false } = {}) => releaseRows(keys, { onlyStale: !force }),
    async retry(...ids) {
      const queue = requireQueue(await engine.store())
      const rows = await found(engine, 'dead', ids)
      return rows.length === 0 ? 0 : repeated(() => queue.requeue(rows.map(requeued), 'dead'))
    },
    async discard(...ids) {
      const queue = requireQueue(await engine.store())
      const rows = [...(await found(engine, 'dead', ids)), ...(await found(engine, 'queued', ids))]
      if (rows.length === 0) return 0
      const keys = rows.map(({ key }) => key)
      return repeated(() => queue.discard(keys, options.retentionMs))
    },
    async cleanup() {
      return cleanUp(engine, await engine.store(), async (forMs) => {
        await pause(port, forMs, 'awaited')
        return true
      })
    },
    migrate: async () => (await engine.store()).migrate(),
  }
}

/** The messages of this status that have these ids or keys. */
export async function found(engine: Engine, status: MessageStatus, ids: readonly string[]): Promise<MessageRow[]> {
  const store = await engine.store()
  const byKey = await store.messages({ status, keys: ids, limit: MOST_MESSAGES })
  const keys = new Set(byKey.map(({ key }) => key))
  // No index serves these.
  const messageIds = ids.filter((id) => !keys.has(id))
  if (messageIds.length === 0) return byKey
  const byId = await store.messages({ status, messageIds, limit: MOST_MESSAGES })
  return [...byKey, ...byId.filter(({ key }) => !keys.has(key))]
}

/** A message as the queue takes it back. A session's key says who it is, unless it was too long to be kept as it is. */
export function requeued({ key, sessionKey, device }: MessageRow): Requeued {
  const row = sessionKey ?? key
  return { key, row: { key: row, prospect: sessionNameOf({ sessionKey: row }), device } }
}
