/** `session-lock show`: everything that is known of a message or a session. */

import { formatDuration } from '../engine/duration.ts'
import { sessionNameOf } from '../engine/inspection.ts'
import { isoTime, momentsOf } from '../engine/timeline.ts'
import type { MessageRow } from '../store/store.ts'
import { asJson, type Command, counted, type Printed, UsageError } from './command.ts'
import { formatSessions } from './session-table.ts'
import { STORE_HELP, STORE_OPTIONS, withLock } from './store.ts'
import { formatTable, printable } from './table.ts'
import { tellUnseen } from './unseen.ts'

/** So many messages are told at length. */
const MOST_STORIES = 20

/** The command. */
export const showCommand: Command = {
  summary: 'tell the whole story of a message or a session',
  help: `Usage: session-lock show <name> [options]

Tells what is known by this name, which may be a message's id, a prospect, the name of a session,
or a key: who holds the session now, and what happened to each of its messages, and when.
Ends with code 3 where nothing is known by it.

Options:
${STORE_HELP}
  --json                an object of two arrays: sessions (held now) and messages
  --help                this text

Examples:
  npx session-lock show 15550002222 --store sqlite:./bot.db
  npx session-lock show wamid.HBgLMTU1NTAwMDIyMjIVAgASGBQzQTAx`,
  options: { ...STORE_OPTIONS, json: { type: 'boolean' } },
  takesNames: true,
  async run(values, names): Promise<Printed> {
    const [name] = names
    if (name === undefined || names.length > 1) throw new UsageError('show takes one name: of a message or a session')
    const found = await withLock(values, async (lock) => {
      await tellUnseen(lock, { messages: true })
      return lock.find(name)
    })
    const nothing = found.sessions.length + found.messages.length === 0
    const code = nothing ? 3 : 0
    if (values['json'] === true) return { text: asJson(found), code }
    if (nothing) {
      const text = `nothing is known by "${printable(name)}": nobody holds it, and no message of it is remembered`
      return { text, code }
    }
    const held = found.sessions.length === 0 ? 'no session is held by this name now' : formatSessions(found.sessions)
    const stories = found.messages.slice(0, MOST_STORIES).map(storyOf)
    const left = found.messages.length - stories.length
    return {
      text: [held, ...stories, ...(left > 0 ? [`and ${counted(left, 'more message')}`] : [])].join('\n\n'),
      code,
    }
  },
}

function storyOf(row: MessageRow): string {
  const where = [`provider ${row.provider}`, row.device === null ? '' : `device ${row.device}`]
  const session = sessionNameOf(row)
  const head = `message ${row.messageId}: ${row.status}`
  const of = [...where, session === null ? '' : `session ${session}`].filter((part) => part !== '').join(', ')
  const now = Date.now()
  const rows = momentsOf(row).map(({ at, what }) => {
    const time = isoTime(at)
    if (time === undefined) return ['never', '', what]
    const distance = at <= now ? `${formatDuration(now - at)} ago` : `in ${formatDuration(at - now)}`
    return [time, distance, what]
  })
  const columns = [{ title: 'WHEN' }, { title: '', align: 'right' }, { title: 'WHAT' }] as const
  return `${printable(head)}\n${printable(of)}\n${formatTable(columns, rows)}`
}
