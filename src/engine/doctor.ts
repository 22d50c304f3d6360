/** What is wrong with a store, as the doctor tells it: the database itself, the tables, and what is in them. */
import { type Finding, fault, ok, warning } from '../store/examine.ts'
import { SchemaError } from '../store/migrate.ts'
import { reasonOf, type Store, StoreError } from '../store/store.ts'
import { type SessionInfo, storeTime } from './inspection.ts'
import type { SessionLock } from './lock.ts'

/** So many stale sessions are named. */
const MOST_NAMED = 10

/**
 * Looks at all of it. `lock`: one over this very store. `shown`: a prospect's name, as it may be told.
 *
 * @throws {@link StoreError} where the store cannot be reached at all.
 */
export async function examineStore(store: Store, lock: SessionLock, shown = asItIs): Promise<Finding[]> {
  const findings = (await store.examine?.()) ?? []
  try {
    await store.checkSchema()
    findings.push(ok('tables', 'of this release'))
    return [...findings, ...(await examineContents(lock, shown))]
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    if (error instanceof SchemaError) return [...findings, fault('tables', error.problem, error.advice)]
    // Where a fault was found already, this is what it leads to.
    if (findings.every(({ level }) => level === 'ok')) throw error
    const advice = 'See to the findings before this one; what is held could not be read'
    return [...findings, fault('contents', reasonOf(error), advice)]
  }
}

const asItIs = (name: string): string => name

async function examineContents(lock: SessionLock, shown: typeof asItIs): Promise<Finding[]> {
  const { staleSessions, messages, queue } = await lock.stats()
  const findings: Finding[] = []
  if (staleSessions === 0) findings.push(ok('sessions', 'none is stale'))
  else findings.push(...(await examineStale(lock, staleSessions, shown)))
  if (messages.dead > 0) {
    findings.push(warning('messages', `${messages.dead} dead`, 'See "session-lock dead", then retry or discard them'))
  }
  if (queue && queue.stopped > 0) {
    const text = `${queue.stopped} sessions of the inbox are stopped at a dead message`
    findings.push(warning('inbox', text, 'See "session-lock dead", then retry or discard them'))
  }
  return findings
}

/** One finding for each node that has gone silent. */
async function examineStale(lock: SessionLock, total: number, shown: typeof asItIs): Promise<Finding[]> {
  const stale = await lock.sessions({ stale: true, limit: 1000 })
  const nodes = new Map<string, SessionInfo[]>()
  for (const session of stale) {
    const nodeId = session.nodeId ?? 'unknown'
    nodes.set(nodeId, [...(nodes.get(nodeId) ?? []), session])
  }
  const advice =
    'Look whether that process hangs or has crashed. The next message of each takes it over; "session-lock release --stale" frees them now'
  const findings = [...nodes].map(([nodeId, sessions]) =>
    warning('sessions', staleText(nodeId, sessions, shown), advice),
  )
  if (total > stale.length) findings.push(warning('sessions', `${total} are stale in all`, advice))
  return findings
}

function staleText(nodeId: string, sessions: readonly SessionInfo[], shown: typeof asItIs): string {
  const now = storeTime(sessions, Date.now())
  const heard = Math.max(...sessions.map(({ renewedAt }) => renewedAt))
  const names = sessions.slice(0, MOST_NAMED).map(({ prospect, key }) => shown(prospect ?? key))
  const more = sessions.length > MOST_NAMED ? ` and ${sessions.length - MOST_NAMED} more` : ''
  const silentFor = `${Math.round((now - heard) / 1000)} s`
  return `node ${nodeId} has renewed nothing for ${silentFor}; stale: ${names.join(', ')}${more}`
}
