/** What a clean-up has found and not removed yet, kept from one call to the next. */
import type { CleanupOptions, CleanupReport } from './store.ts'

/**
 * So many rows are found at once, for the calls that follow: what was deleted stands in the index until the server
 * purges it, and every search has to pass it.
 */
const FOUND_AT_ONCE = 2000

/** How a store finds and removes. Whether a row is still to go is asked again as it is removed. */
export interface Cleaning<Query> {
  /** Keys of rows that are to go, at most so many of each table. */
  find(query: Query, options: CleanupOptions): Promise<{ sessions: readonly string[]; messages: readonly string[] }>
  /** Each tells how many it removed. Not called without keys. */
  removeSessions(query: Query, keys: readonly string[], abandonedAfterMs: number): Promise<number>
  removeMessages(query: Query, keys: readonly string[]): Promise<number>
  /** What else is to go, each time that rows are found. True: there may be more of it. */
  removeOthers?(query: Query, options: CleanupOptions): Promise<boolean>
}

/** Removes one batch. */
export type CleanUp<Query> = (query: Query, options: CleanupOptions) => Promise<CleanupReport>

export function createCleanUp<Query>(cleaning: Cleaning<Query>): CleanUp<Query> {
  let sessions: readonly string[] = []
  let messages: readonly string[] = []

  /** Is there more of what is not found by key? */
  async function find(query: Query, options: CleanupOptions): Promise<boolean> {
    const found = await cleaning.find(query, { ...options, limit: Math.max(options.limit, FOUND_AT_ONCE) })
    sessions = found.sessions
    messages = found.messages
    return (await cleaning.removeOthers?.(query, options)) ?? false
  }

  return async (query, options) => {
    const isMoreOfOthers = sessions.length + messages.length === 0 && (await find(query, options))
    const [old, past] = [sessions.slice(0, options.limit), messages.slice(0, options.limit)]
    const removed = { sessions: 0, messages: 0 }
    if (old.length > 0) removed.sessions = await cleaning.removeSessions(query, old, options.abandonedAfterMs)
    sessions = sessions.slice(old.length)
    if (past.length > 0) removed.messages = await cleaning.removeMessages(query, past)
    messages = messages.slice(past.length)
    // These may have been found long ago, by a clean-up that was ended: only a search that finds nothing is the end.
    return { ...removed, more: isMoreOfOthers || old.length + past.length > 0 }
  }
}
