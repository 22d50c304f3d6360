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

/** Says on stderr that there are rows beyond those that are looked through. Counts nothing: of a large table that takes long. */
export async function tellUnseen(lock: SessionLock, { stale, messages = false }: Looked): Promise<void> {
  const limit = LOOKED_THROUGH + 1
  const held = await lock.sessions({ limit, ...(stale !== undefined && { stale }) })
  if (held.length === limit) {
    console.error(`only the ${LOOKED_THROUGH} longest held sessions were looked through; there are more`)
  }
  if (messages && !hasTables(lock) && (await lock.messages({ limit })).length === limit) {
    console.error(`only the latest ${LOOKED_THROUGH} messages were looked through; there are more`)
  }
}

/** A store with a queue has tables, which the database looks through as a whole. */
function hasTables({ options: { store } }: SessionLock): boolean {
  return typeof store === 'object' && 'queue' in store
}
