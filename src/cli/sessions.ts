/** `session-lock sessions`: who holds what, now. */
import type { SessionsFilter } from '../engine/inspection.ts'
import { asJson, type Command, type OptionValues, textOf, wholeNumber } from './command.ts'
import { durationOf } from './duration.ts'
import { formatSessions } from './session-table.ts'
import { STORE_HELP, STORE_OPTIONS, withLock } from './store.ts'
import { tellUnseen } from './unseen.ts'

const DEFAULT_LIMIT = 100

/** The command. */
export const sessionsCommand: Command = {
  summary: 'print the sessions that are held now',
  help: `Usage: session-lock sessions [options]

Prints the sessions that are held now, the longest held first: who (prospect, device),
the ids of the messages in hand, by which node, since when, when its holder was last heard
of, when the lease runs out unless renewed ("stale": its holder crashed or hangs, and the next
claim takes over), its fencing token (where the terminal is wide enough), and whether another node
waits for it (contended).

Options:
${STORE_HELP}
  --prospect TEXT       only those of this prospect
  --device TEXT         only those of this device
  --node TEXT           only those that this node holds
  --stale               only stale ones
  --older-than TIME     only those held for at least so long: 30s, 5m, 2h, 1d
  --limit NUMBER        at most so many. Default: ${DEFAULT_LIMIT}
  --json                a JSON array; times as epoch milliseconds by the store's clock
  --help                this text

Examples:
  npx session-lock sessions --store sqlite:./bot.db
  SESSION_LOCK_URL=mysql://bot:secret@localhost/bot npx session-lock sessions --stale
  npx session-lock sessions --node web-1-4711 --older-than 1m
  npx session-lock sessions --json | jq -r '.[].prospect'`,
  options: {
    ...STORE_OPTIONS,
    prospect: { type: 'string' },
    device: { type: 'string' },
    node: { type: 'string' },
    stale: { type: 'boolean' },
    'older-than': { type: 'string' },
    limit: { type: 'string' },
    json: { type: 'boolean' },
  },
  async run(values) {
    const limit = wholeNumber('limit', values['limit'], DEFAULT_LIMIT)
    const filter = filterOf(values)
    // One more than is shown, to know whether there are more.
    const found = await withLock(values, async (lock) => {
      if (isNamed(filter)) await tellUnseen(lock, filter)
      return lock.sessions({ ...filter, limit: limit + 1 })
    })
    const sessions = found.slice(0, limit)
    if (values['json'] === true) return asJson(sessions)
    if (sessions.length === 0) return nothingFor(filter)
    const table = formatSessions(sessions)
    return found.length > limit ? `${table}\nthere are more; --limit NUMBER shows them` : table
  },
}

function filterOf(values: OptionValues): SessionsFilter {
  const prospect = textOf(values['prospect'])
  const device = textOf(values['device'])
  const nodeId = textOf(values['node'])
  const heldForMs = durationOf('older-than', values['older-than'])
  return {
    ...(values['stale'] === true && { stale: true }),
    ...(prospect !== undefined && { prospect }),
    ...(device !== undefined && { device }),
    ...(nodeId !== undefined && { nodeId }),
    ...(heldForMs !== undefined && { heldForMs }),
  }
}

/** By what a store cannot look for; how long they are held it goes by anyway. */
function isNamed({ prospect, device, nodeId }: SessionsFilter): boolean {
  return [prospect, device, nodeId].some((name) => name !== undefined)
}

function nothingFor({ stale, ...others }: SessionsFilter): string {
  if (Object.keys(others).length > 0) return 'no session is held that fits'
  return stale ? 'no session is stale' : 'no session is held'
}
