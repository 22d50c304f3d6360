/** `session-lock watch`: what is held, again and again. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { SessionLock } from '../engine/lock.ts'
import { StoreError } from '../store/store.ts'
import { type Command, errorLine, UsageError, wholeNumber } from './command.ts'
import { formatSessions } from './session-table.ts'
import { describe, overviewOf } from './stats.ts'
import { STORE_HELP, STORE_OPTIONS, withLock } from './store.ts'

const DEFAULT_SECONDS = 2
/** A timer can be set for 24 days at most. */
const MOST_SECONDS = 86_400
const MOST_SHOWN = 30
/** Moves the cursor to the top and clears what is below. */
const CLEAR = '\u001b[H\u001b[J'

/** The command. */
export const watchCommand: Command = {
  summary: 'print what is held, again and again',
  help: `Usage: session-lock watch [options]

Prints the numbers of "session-lock stats" and the sessions that are held, and again every
${DEFAULT_SECONDS} seconds, until Ctrl-C. In a terminal the new ones take the place of the old. While the store does
not answer it says so, and goes on.

Options:
${STORE_HELP}
  --every SECONDS       how often, at most ${MOST_SECONDS}. Default: ${DEFAULT_SECONDS}
  --times NUMBER        so many times, then end. Default: for ever
  --json                one JSON object a line: at, stats (as "stats --json" prints them), sessions
  --help                this text

Examples:
  npx session-lock watch --store sqlite:./bot.db
  npx session-lock watch --json --every 10 | tee locks.log`,
  options: {
    ...STORE_OPTIONS,
    every: { type: 'string' },
    times: { type: 'string' },
    json: { type: 'boolean' },
  },
  takesLong: true,
  run(values) {
    const seconds = wholeNumber('every', values['every'], DEFAULT_SECONDS)
    if (seconds > MOST_SECONDS) throw new UsageError(`--every takes at most ${MOST_SECONDS}`)
    const times = wholeNumber('times', values['times'], Number.MAX_SAFE_INTEGER)
    return withLock(values, async (lock) => {
      for (let time = 1; time < times; time += 1) {
        await look(lock, values['json'] === true).catch(passOver)
        await sleep(seconds * 1000)
      }
      await look(lock, values['json'] === true)
      return ''
    })
  },
}

async function look(lock: SessionLock, isJson: boolean): Promise<void> {
  const stats = await overviewOf(lock)
  const sessions = await lock.sessions({ limit: MOST_SHOWN })
  if (isJson) console.log(JSON.stringify({ at: Date.now(), stats, sessions }))
  else show(describe({ ...stats, stale: [] }), sessions.length === 0 ? '' : formatSessions(sessions))
}

/** A store that does not answer now may do so the next time. */
function passOver(error: unknown): void {
  if (!(error instanceof StoreError) || error.kind === 'setup') throw error
  console.error(errorLine(error))
}

function show(numbers: string, sessions: string): void {
  const clock = new Date().toLocaleTimeString()
  const text = [clock, numbers, sessions].filter((part) => part !== '').join('\n\n')
  console.log(process.stdout.isTTY ? `${CLEAR}${text}` : `${text}\n`)
}
