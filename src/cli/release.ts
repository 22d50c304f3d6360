/** `session-lock release`: frees sessions whose holder is gone, or by force. */

import { formatDuration } from '../engine/duration.ts'
import { LOOKED_THROUGH, type SessionInfo, type SessionsFilter, storeTime } from '../engine/inspection.ts'
import type { SessionLock } from '../engine/lock.ts'
import { asJson, type Command, counted, type OptionValues, type Printed, textOf, UsageError } from './command.ts'
import { isConfirmed, YES_HELP, YES_OPTION } from './confirm.ts'
import { formatSessions, nameOf } from './session-table.ts'
import { STORE_HELP, STORE_OPTIONS, withLock } from './store.ts'
import { printable } from './table.ts'
import { tellUnseen } from './unseen.ts'

/** The command. */
export const releaseCommand: Command = {
  summary: 'free a session, or all stale ones',
  help: `Usage: session-lock release <session> [options]
       session-lock release --stale [options]

Frees a session, named by its prospect, its own name, its key, or the id of a message in hand; or
all sessions that are stale. The next claim takes it over, with a larger fencing token.

A stale session is free for the next claim anyway; releasing it also makes certain that its holder,
should it wake up, can write nothing. A live one is refused, because its handler is running: with
--force it is taken from it. The holder's next renewal is refused, and its signal aborts.
Ends with code 3 where what was asked for was not released.

Options:
${STORE_HELP}
  --stale               all that are stale, and no others
  --device TEXT         only of this device, where one prospect has several sessions
  --force               a live one too
${YES_HELP}
  --json                a JSON array of those that were released, as they were; why none was, on stderr
  --help                this text

Examples:
  npx session-lock release --stale --store sqlite:./bot.db
  npx session-lock release 15550002222 --force --yes`,
  options: {
    ...STORE_OPTIONS,
    ...YES_OPTION,
    stale: { type: 'boolean' },
    device: { type: 'string' },
    force: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  takesNames: true,
  takesLong: true,
  async run(values, names) {
    const [name] = names
    if (names.length > 1 || (name === undefined) !== (values['stale'] === true)) {
      throw new UsageError('release takes one session, or --stale')
    }
    if (name === undefined && values['force'] === true) {
      throw new UsageError('--force is for one session; --stale releases none that is live')
    }
    return withLock(values, (lock) =>
      name === undefined ? releaseStale(lock, values) : releaseOne(lock, values, name),
    )
  },
}

async function releaseStale(lock: SessionLock, values: OptionValues): Promise<Printed> {
  const device = textOf(values['device'])
  const filter: SessionsFilter = { stale: true, limit: LOOKED_THROUGH, ...(device !== undefined && { device }) }
  const stale = await lock.sessions(filter)
  if (stale.length === 0) return { ...nothing(values, 'no session is stale'), code: 0 }
  if (values['yes'] !== true) console.error(formatSessions(stale))
  const question = `Release ${counted(stale.length, 'stale session')}?`
  if (!(await isConfirmed(values, question))) return nothing(values, 'nothing was released')
  return released(values, await lock.releaseSessions(stale.map(({ key }) => key)))
}

async function releaseOne(lock: SessionLock, values: OptionValues, name: string): Promise<Printed> {
  const device = textOf(values['device'])
  const { sessions } = await lock.find(name)
  await tellUnseen(lock, {})
  const fitting = sessions.filter((session) => device === undefined || session.device === device)
  const [session] = fitting
  if (!session) return nothing(values, `nobody holds "${name}"`)
  if (fitting.length > 1) {
    console.error(formatSessions(fitting))
    return nothing(values, `${fitting.length} sessions have this name; give --device, or the key (see --json)`)
  }
  const force = values['force'] === true
  if (!session.stale && !force) return nothing(values, refusalOf(session))
  if (!(await isConfirmed(values, `Release ${describe(session)}?`))) return nothing(values, 'nothing was released')
  // It may have changed hands before the answer came.
  const isSame = (now: SessionInfo) => now.owner === session.owner && now.fencingToken === session.fencingToken
  const held = (await lock.sessions({ limit: LOOKED_THROUGH })).find(({ key }) => key === session.key)
  const [done] = held && isSame(held) ? await lock.releaseSessions([session.key], { force }) : []
  if (!done) return nothing(values, `${nameOf(session)} changed meanwhile; nothing was done`)
  return released(values, [done])
}

function nothing(values: OptionValues, text: string): Printed {
  if (values['json'] !== true) return { text: printable(text), code: 3 }
  console.error(printable(text))
  return { text: '[]', code: 3 }
}

function released(values: OptionValues, sessions: readonly SessionInfo[]): Printed {
  if (values['json'] === true) return { text: asJson(sessions), code: 0 }
  const lines = sessions.map((session) => `released ${describe(session)}`)
  return { text: [...lines, `${counted(sessions.length, 'session')} released`].join('\n'), code: 0 }
}

function describe(session: SessionInfo): string {
  const { nodeId, messageIds, lockedAt, fencingToken } = session
  const heldFor = formatDuration(storeTime([session], Date.now()) - lockedAt)
  const messages = messageIds.length === 0 ? '' : ` with ${messageIds.join(', ')}`
  const state = session.stale ? 'stale' : 'live'
  return printable(`${nameOf(session)}: ${state}, held by ${nodeId} for ${heldFor}${messages}, token ${fencingToken}`)
}

function refusalOf(session: SessionInfo): string {
  return `refused: ${describe(session)}. Its handler is running; --force takes the session from it`
}
