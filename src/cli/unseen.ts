/** What was not looked through, so that "nothing" is not taken for certain. */
import { LOOKED_THROUGH } from '../engine/inspection.ts'
import type { SessionLock } from '../engine/lock.ts'

/** What was looked for by a name, or by other things that a store cannot look for. */
interface Looked {
  /** Among the stale sessions only. */
  readonly stale?: boolean
  /** Among messages too. */
  readonly messages?: boolean
}

/** Says on stderr how many rows there are beyond those that are looked through. */
export async function tellUnseen(lock: SessionLock, { stale = false, messages = false }: Looked): Promise<void> {
  const stats = await lock.stats()
  const held = stale ? stats.staleSessions : stats.sessions
  if (held > LOOKED_THROUGH) {
    console.error(`only the ${LOOKED_THROUGH} longest held of ${held} sessions were looked through`)
  }
  const remembered = Object.values(stats.messages).reduce((sum, count) => sum + count, 0)
  // A store with a queue has tables, which the database looks through as a whole.
  if (messages && stats.queue === null && remembered > LOOKED_THROUGH) {
    console.error(`only the latest ${LOOKED_THROUGH} of ${remembered} messages were looked through`)
  }
}
