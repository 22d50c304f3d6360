/** `session-lock stats`: how much is held, waits and was handled, and by whom. */

import { formatDuration } from '../engine/duration.ts'
import type { LockStats, SessionInfo } from '../engine/inspection.ts'
import { storeTime } from '../engine/inspection.ts'
import type { SessionLock } from '../engine/lock.ts'
import { asJson, type Command, counted } from './command.ts'
import { formatSessions, nameOf } from './session-table.ts'
import { STORE_HELP, STORE_OPTIONS, withLock } from './store.ts'
import { formatTable, printable } from './table.ts'

const MINUTE_MS = 60_000
/** The rate is taken from so many messages at most. */
const SAMPLE = 1000
const MOST_STALE = 20

/** What the command tells, as `--json` prints it. Times are epoch milliseconds by the store's clock. */
interface Overview extends Omit<LockStats, 'node'> {
  readonly completedPerMinute: number
  readonly longest: SessionInfo | null
  /** The stale ones, at most {@link MOST_STALE}. */
  readonly stale: readonly SessionInfo[]
}

/** The command. */
export const statsCommand: Command = {
  summary: 'print how much is held, waits and was handled, by node and status',
  help: `Usage: session-lock stats [options]

Prints how many sessions are held and how many of them are stale, messages by status, how many
were completed in the last minute, the session that is held longest, what waits in the inbox and
for how long the oldest has, and each node that holds something. Stale sessions are named, with
the node that has stopped renewing them. What one node counts for itself (duplicates, busy,
takeovers) is in its metrics and on its admin page.

Options:
${STORE_HELP}
  --json                one object
  --help                this text

Examples:
  npx session-lock stats --store sqlite:./bot.db
  npx session-lock stats --json | jq .queue.oldestMs`,
  options: { ...STORE_OPTIONS, json: { type: 'boolean' } },
  async run(values) {
    const overview = await withLock(values, overviewOf)
    return values['json'] === true ? asJson(overview) : describe(overview)
  },
}

/** Asks the store for all of it. */
export async function overviewOf(lock: SessionLock): Promise<Overview> {
  const { node: _, ...stats } = await lock.stats()
  const [longest = null] = await lock.sessions({ limit: 1 })
  const stale = stats.staleSessions === 0 ? [] : await lock.sessions({ stale: true, limit: MOST_STALE })
  return { ...stats, completedPerMinute: await rateOf(lock), longest, stale }
}

/** Where more were completed in a minute than are looked at, reckoned from these. */
async function rateOf(lock: SessionLock): Promise<number> {
  const rows = await lock.messages({ status: 'completed', limit: SAMPLE })
  const times = rows.map(({ finishedAt }) => finishedAt ?? 0)
  const now = Math.max(Date.now(), ...times)
  const within = times.filter((at) => at > now - MINUTE_MS)
  if (within.length < SAMPLE) return within.length
  return Math.round((within.length * MINUTE_MS) / Math.max(1, now - Math.min(...within)))
}

/** As a person reads it. */
export function describe({ completedPerMinute, longest, stale, ...stats }: Overview): string {
  const { messages, queue, nodes } = stats
  const facts = [
    ['sessions held', `${stats.sessions}${stats.staleSessions > 0 ? `, ${stats.staleSessions} of them stale` : ''}`],
    ['messages', messagesText(messages)],
    ['completed', `${completedPerMinute} in the last minute`],
    ['held longest', longest === null ? '-' : longestText(longest)],
    ...(queue === null ? [] : [['in the inbox', queueText(queue)]]),
  ]
  const nodeRows = nodes.map(({ nodeId, sessions, stale: silent }) => [nodeId, String(sessions), String(silent)])
  const parts = [facts.map(([name, text]) => `${name?.padEnd(14)}  ${text}`).join('\n')]
  if (nodes.length > 0) parts.push(formatTable(NODE_COLUMNS, nodeRows, process.stdout.columns))
  if (stale.length > 0) parts.push(`stale:\n${formatSessions(stale)}`)
  return parts.join('\n\n')
}

const NODE_COLUMNS = [
  { title: 'NODE', least: 6 },
  { title: 'HOLDS', align: 'right' },
  { title: 'STALE', align: 'right', colour: (cell: string) => (cell === '0' ? undefined : 'red') },
] as const

function messagesText(messages: LockStats['messages']): string {
  const some = Object.entries(messages).filter(([, count]) => count > 0)
  return some.length === 0 ? 'none' : some.map(([status, count]) => `${count} ${status}`).join(', ')
}

function longestText(session: SessionInfo): string {
  const heldForMs = storeTime([session], Date.now()) - session.lockedAt
  return printable(`${formatDuration(heldForMs)}: ${nameOf(session)}, by ${session.nodeId ?? 'nobody'}`)
}

function queueText({ messages, sessions, stopped, oldestMs }: NonNullable<LockStats['queue']>): string {
  if (messages === 0) return 'nothing waits'
  const waits = `${counted(messages, 'message')} of ${counted(sessions, 'session')}`
  const oldest = oldestMs === null ? '' : `, the oldest for ${formatDuration(oldestMs)}`
  return `${waits}${oldest}${stopped > 0 ? `; ${stopped} stopped at a dead message` : ''}`
}
