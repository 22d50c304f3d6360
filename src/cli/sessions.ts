/** `session-lock sessions`: who holds what, now. */
import type { SessionInfo } from '../engine/inspection.ts'
import { type Command, wholeNumber } from './command.ts'
import { STORE_HELP, STORE_OPTIONS, withLock } from './store.ts'
import { type Column, formatDuration, formatTable } from './table.ts'

const DEFAULT_LIMIT = 100

/** The command. */
export const sessionsCommand: Command = {
  summary: 'print the sessions that are held now',
  help: `Usage: session-lock sessions [options]

Prints the sessions that are held now, the longest held first: who (prospect, device),
the ids of the messages in hand, by which node, since when, when its holder was last heard
of, when the lease runs out unless renewed ("stale": its holder crashed or hangs, and the next
claim takes over), its fencing token, and whether another node waits for it (contended).

Options:
${STORE_HELP}
  --stale               only stale ones
  --limit NUMBER        at most so many. Default: ${DEFAULT_LIMIT}
  --json                a JSON array; times as epoch milliseconds by the store's clock
  --help                this text

Examples:
  npx session-lock sessions --store sqlite:./bot.db
  SESSION_LOCK_URL=mysql://bot:secret@localhost/bot npx session-lock sessions --stale
  npx session-lock sessions --json | jq -r '.[].prospect'`,
  options: {
    ...STORE_OPTIONS,
    stale: { type: 'boolean' },
    limit: { type: 'string' },
    json: { type: 'boolean' },
  },
  async run(values) {
    const limit = wholeNumber('limit', values['limit'], DEFAULT_LIMIT)
    const onlyStale = values['stale'] === true
    // One more than is shown, to know whether there are more.
    const filter = { limit: limit + 1, ...(onlyStale && { stale: true }) }
    const found = await withLock(values, (lock) => lock.sessions(filter))
    const sessions = found.slice(0, limit)
    if (values['json'] === true) return JSON.stringify(sessions, null, 2)
    if (sessions.length === 0) return onlyStale ? 'no session is stale' : 'no session is held'
    const table = formatTable(COLUMNS, cellsOf(sessions, Date.now()), process.stdout.columns)
    return found.length > limit ? `${table}\nthere are more; --limit NUMBER shows them` : table
  },
}

const COLUMNS: readonly Column[] = [
  { title: 'PROSPECT', least: 8 },
  { title: 'DEVICE', least: 6 },
  { title: 'MESSAGES', least: 8 },
  { title: 'NODE', least: 6 },
  { title: 'HELD FOR', align: 'right' },
  { title: 'RENEWED', align: 'right' },
  { title: 'EXPIRES', align: 'right' },
  { title: 'TOKEN', align: 'right' },
  { title: 'CONTENDED' },
]

function cellsOf(sessions: readonly SessionInfo[], here: number): string[][] {
  const now = storeTime(sessions, here)
  return sessions.map((session) => [
    session.prospect ?? '-',
    session.device ?? '-',
    session.messageIds.join(', ') || '-',
    // A session that was released by force has no owner any more, though its row still names the node.
    session.owner === null ? 'released by force' : (session.nodeId ?? '-'),
    formatDuration(now - session.lockedAt),
    `${formatDuration(now - session.renewedAt)} ago`,
    session.stale ? 'stale' : `in ${formatDuration(session.expiresAt - now)}`,
    String(session.fencingToken),
    session.contended ? 'yes' : '',
  ])
}

/**
 * The store's clock, as near as the rows tell: this machine's, but no earlier than anything that has
 * happened and no later than a live lease's end.
 */
function storeTime(sessions: readonly SessionInfo[], here: number): number {
  const happened = sessions.map((session) => (session.stale ? session.expiresAt : session.renewedAt))
  const toCome = sessions.filter((session) => !session.stale).map((session) => session.expiresAt)
  return Math.max(Math.min(here, ...toCome), ...happened)
}
