/** Everything the page shows, of one moment. */
import { type LockStats, storeTime } from '../engine/inspection.ts'
import type { SessionLock } from '../engine/lock.ts'
import type { Masking, ShownMessage, ShownSession } from './masking.ts'

/** So many sessions are shown; the stale ones come first. */
export const MOST_SESSIONS = 200
const MOST_DEAD = 50

/** A node that holds something. */
export interface ShownNode {
  readonly nodeId: string
  readonly sessions: number
  readonly stale: number
  /** When it last claimed or renewed something, of what is shown; epoch milliseconds by the store's clock. */
  readonly heardAt: number | null
}

export interface View {
  /** Epoch milliseconds by the store's clock, as near as its rows tell. */
  readonly now: number
  readonly stats: LockStats
  readonly nodes: readonly ShownNode[]
  /** At most {@link MOST_SESSIONS}. */
  readonly sessions: readonly ShownSession[]
  readonly dead: readonly ShownMessage[]
}

/** Asks the store. Rejects with a {@link StoreError} where it does not answer. */
export async function readView(lock: SessionLock, masking: Masking): Promise<View> {
  const stats = await lock.stats()
  const stale = stats.staleSessions === 0 ? [] : await lock.sessions({ stale: true, limit: MOST_SESSIONS })
  const live = await lock.sessions({ stale: false, limit: MOST_SESSIONS })
  const rows = [...stale, ...live]
  const dead = stats.messages.dead === 0 ? [] : await lock.messages({ status: 'dead', limit: MOST_DEAD })
  const heard = new Map<string | null, number>()
  for (const { nodeId, renewedAt } of rows) heard.set(nodeId, Math.max(heard.get(nodeId) ?? 0, renewedAt))
  return {
    now: storeTime(rows, Date.now()),
    stats,
    nodes: stats.nodes.map((node) => ({ ...node, heardAt: heard.get(node.nodeId) ?? null })),
    sessions: rows.slice(0, MOST_SESSIONS).map(masking.session),
    dead: dead.map(masking.message),
  }
}
