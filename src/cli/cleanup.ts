/** `session-lock cleanup`: removes what nobody needs any more. */
import { asJson, type Command, counted } from './command.ts'
import { STORE_HELP, STORE_OPTIONS, withLock } from './store.ts'

/** The command. */
export const cleanupCommand: Command = {
  summary: 'remove expired messages and abandoned sessions now',
  help: `Usage: session-lock cleanup [options]

Removes messages whose retention is over, and sessions that were abandoned by a node that crashed,
a few rows at a time, with rests. The bot does the same by itself; this is for a table that
grew while no bot ran. It never touches a live session, nor a queued message.

Options:
${STORE_HELP}
  --json                an object with the counts
  --help                this text

Examples:
  npx session-lock cleanup --store sqlite:./bot.db`,
  options: { ...STORE_OPTIONS, json: { type: 'boolean' } },
  takesLong: true,
  async run(values) {
    const removed = await withLock(values, (lock) => lock.cleanup())
    if (values['json'] === true) return asJson(removed)
    return `${counted(removed.messages, 'message')} and ${counted(removed.sessions, 'session')} removed`
  },
}
