/** What a store can tell of the database behind it: the contract of {@link Store.examine}, and what all of them judge alike. */

/** `fault`: it does not work, or not rightly; `warning`: it may stop to; `ok`: as it should be. */
export type FindingLevel = 'ok' | 'warning' | 'fault'

/** One thing that was looked at. */
export interface Finding {
  /** What it is about, in a word or two: `clock`, `privileges`, `connections`. */
  readonly check: string
  readonly level: FindingLevel
  /** What was found. Never a password. */
  readonly text: string
  /** What to do about it; only where something is to be done. */
  readonly advice?: string
}

export function ok(check: string, text: string): Finding {
  return { check, level: 'ok', text }
}

export function warning(check: string, text: string, advice: string): Finding {
  return { check, level: 'warning', text, advice }
}

export function fault(check: string, text: string, advice: string): Finding {
  return { check, level: 'fault', text, advice }
}

/** Leases go by the store's clock alone; a machine whose own is this far off has logs and dashboards that mislead. */
const CLOCK_OFF_MS = 5000

/** Compares the store's clock with this machine's. `read` resolves to the store's, in epoch milliseconds. */
export async function examineClock(read: () => Promise<number>): Promise<Finding> {
  const askedAt = Date.now()
  const theirs = await read()
  const answeredAt = Date.now()
  const offMs = Math.round(theirs - (askedAt + answeredAt) / 2)
  const off = Math.abs(offMs) < 1000 ? `${Math.abs(offMs)} ms` : `${(Math.abs(offMs) / 1000).toFixed(1)} s`
  const text = `the store's clock is ${off} ${offMs < 0 ? 'behind' : 'ahead of'} this machine's`
  if (Math.abs(offMs) < CLOCK_OFF_MS) return ok('clock', text)
  return warning(
    'clock',
    text,
    'Leases go by the store’s clock alone and are not harmed; but set both by NTP, or times in logs and tables mislead',
  )
}

/** So full a limit of connections is told of. */
const NEARLY_FULL = 0.9

/** Judges connections in use against their limit. 0: there is none. `whose`: `the server`, `this user`. */
export function examineConnections(whose: string, used: number, limit: number): Finding {
  if (limit === 0) return ok('connections', `${whose} has ${used} connections in use, without a limit`)
  const text = `${whose} has ${used} of ${limit} connections in use`
  if (used < limit * NEARLY_FULL) return ok('connections', text)
  return warning(
    'connections',
    `${text}: a bot that starts now may get none`,
    'Raise the limit, or make the pools of the programs on it smaller; session-lock itself needs 2 or 3 a process',
  )
}

/** Judges the indexes that are there against those that the tables are made with. */
export function examineIndexes(wanted: readonly string[], found: ReadonlySet<string>): Finding {
  const missing = wanted.filter((name) => !found.has(name))
  if (missing.length === 0) return ok('indexes', `all ${wanted.length} are there`)
  return fault(
    'indexes',
    `missing: ${missing.join(', ')}`,
    'Make them again, as "session-lock migrate --print" has them: without them claims or the clean-up grow slow',
  )
}

/** Judges what this user may not do. */
export function examinePrivileges(denied: readonly string[], grant: string): Finding {
  if (denied.length === 0) return ok('privileges', 'this user may do what is needed')
  return fault('privileges', `this user may not: ${denied.join('; ')}`, grant)
}
