/** What a clean-up has found and not removed yet, kept from one call to the next. */
import type { CleanupOptions, CleanupReport } from './store.ts'

/**
 * So many rows are found at once, for the calls that follow: what was deleted stands in the index until the server
 * purges it, and every search has to pass it.
 */
const FOUND_AT_ONCE = 2000

/**
 * With at least this share of a stretch of the table to go, the stretch is cleaned, and then the next: a page of it loses
 * many rows at once. In the order in which rows expire each row has a page to itself, to be read and written for it alone.
 */
const DENSE = 1 / 8

/** How a store finds and removes. Whether a row is still to go is asked again as it is removed. */
export interface Cleaning<Query> {
  /** Keys of rows that are to go, at most so many of each table. */
  find(query: Query, options: CleanupOptions): Promise<{ sessions: readonly string[]; messages: readonly string[] }>
  /** Looks through the table of messages, where that lies in the order of its keys. */
  sweep?(query: Query, stretch: Stretch): Promise<Swept>
  /** Each tells how many it removed. Not called without keys. */
  removeSessions(query: Query, keys: readonly string[], abandonedAfterMs: number): Promise<number>
  removeMessages(query: Query, keys: readonly string[]): Promise<number>
  /** What else is to go, each time that rows are found. True: there may be more of it. */
  removeOthers?(query: Query, options: CleanupOptions): Promise<boolean>
}

/** So many rows of the table, in the order of their keys, behind this key. */
export interface Stretch {
  readonly after: string
  readonly limit: number
}

/** What is in a stretch. */
export interface Swept {
  /** How many rows. Fewer than asked for: the table ends there. */
  readonly passed: number
  /** The key of the last one; undefined where there is none. */
  readonly last: string | undefined
  /** The keys of those that are to go. */
  readonly messages: readonly string[]
}

/** Removes one batch. */
export type CleanUp<Query> = (query: Query, options: CleanupOptions) => Promise<CleanupReport>

export function createCleanUp<Query>(cleaning: Cleaning<Query>): CleanUp<Query> {
  let sessions: readonly string[] = []
  let messages: readonly string[] = []
  let sweptTo = ''
  let isSweeping = false

  /** Is there more of what is not found by key? */
  async function find(query: Query, options: CleanupOptions): Promise<boolean> {
    const limit = Math.max(options.limit, FOUND_AT_ONCE)
    const found = await cleaning.find(query, { ...options, limit })
    sessions = found.sessions
    messages = found.messages
    isSweeping = cleaning.sweep !== undefined && messages.length === limit
    return (await cleaning.removeOthers?.(query, options)) ?? false
  }

  /** Ends where a stretch is not worth it: what has been found is next, and then whether there is much is asked anew. */
  async function sweep(query: Query, limit: number): Promise<number> {
    const swept = await cleaning.sweep?.(query, { after: sweptTo, limit })
    if (!swept) return 0
    const isAtEnd = swept.passed < limit
    sweptTo = isAtEnd ? '' : (swept.last ?? '')
    isSweeping = !isAtEnd && swept.messages.length >= swept.passed * DENSE
    return swept.messages.length > 0 ? cleaning.removeMessages(query, swept.messages) : 0
  }

  return async (query, options) => {
    if (isSweeping) return { sessions: 0, messages: await sweep(query, options.limit), more: true }
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
