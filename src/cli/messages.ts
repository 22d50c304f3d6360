/** `session-lock messages` and `session-lock dead`: what was handled, and what became of it. */
import type { MessagesFilter } from '../engine/inspection.ts'
import { MESSAGE_STATUSES, type MessageStatus } from '../store/store.ts'
import { asJson, type Command, type OptionValues, textOf, UsageError, wholeNumber } from './command.ts'
import { durationOf } from './duration.ts'
import { formatMessages } from './message-table.ts'
import { STORE_HELP, STORE_OPTIONS, withLock } from './store.ts'
import { tellUnseen } from './unseen.ts'

const DEFAULT_LIMIT = 100

const FILTER_HELP = `  --session TEXT        only those of this prospect, or of the session of this name
  --since TIME          only those in hand, or finished within so long: 30s, 5m, 2h, 1d
  --limit NUMBER        at most so many. Default: ${DEFAULT_LIMIT}
  --json                a JSON array; times as epoch milliseconds by the store's clock
  --help                this text`

const FILTER_OPTIONS: Command['options'] = {
  ...STORE_OPTIONS,
  session: { type: 'string' },
  since: { type: 'string' },
  limit: { type: 'string' },
  json: { type: 'boolean' },
}

/** The command for all messages. */
export const messagesCommand: Command = {
  summary: 'print the messages that were handled, and those in hand',
  help: `Usage: session-lock messages [options]

Prints the messages that are remembered: those in hand now (processing), those that wait in the
inbox (queued), then those that were handled (completed, failed, dead), the latest first, each with
its session, the node that had it last, how often it was handled, and its last error.

Options:
${STORE_HELP}
  --status STATUS       only ${MESSAGE_STATUSES.join(', ')}
${FILTER_HELP}

Examples:
  npx session-lock messages --store sqlite:./bot.db
  npx session-lock messages --session 15550002222 --since 1h
  npx session-lock messages --status failed --json | jq -r '.[].lastError'`,
  options: { ...FILTER_OPTIONS, status: { type: 'string' } },
  run: (values) => listMessages(values, statusOf(values['status']), 'no message is remembered that fits'),
}

/** The command for those that nobody will try again. */
export const deadCommand: Command = {
  summary: 'print the dead messages, with their errors',
  help: `Usage: session-lock dead [options]

Prints the messages that the inbox has given up on, the latest first, with the error of the last
try. "session-lock retry" queues them again, "session-lock discard" drops them.

Options:
${STORE_HELP}
${FILTER_HELP}

Examples:
  npx session-lock dead --store sqlite:./bot.db
  npx session-lock dead --limit 1000 --json | jq -r '.[].messageId' | xargs -r npx session-lock retry`,
  options: FILTER_OPTIONS,
  run: (values) => listMessages(values, 'dead', 'no message is dead'),
}

async function listMessages(values: OptionValues, status: MessageStatus | undefined, nothing: string): Promise<string> {
  const limit = wholeNumber('limit', values['limit'], DEFAULT_LIMIT)
  const session = textOf(values['session'])
  const sinceMs = durationOf('since', values['since'])
  const filter: MessagesFilter = {
    ...(status !== undefined && { status }),
    ...(session !== undefined && { session }),
    ...(sinceMs !== undefined && { since: Date.now() - sinceMs }),
  }
  const found = await withLock(values, async (lock) => {
    if (session !== undefined) await tellUnseen(lock, { messages: true })
    return lock.messages({ ...filter, limit: limit + 1 })
  })
  const messages = found.slice(0, limit)
  if (values['json'] === true) return asJson(messages)
  if (messages.length === 0) return nothing
  const table = formatMessages(messages)
  return found.length > limit ? `${table}\nthere are more; --limit NUMBER shows them` : table
}

function statusOf(value: string | boolean | undefined): MessageStatus | undefined {
  const status = MESSAGE_STATUSES.find((one) => one === value)
  if (value !== undefined && status === undefined)
    throw new UsageError(`--status takes one of ${MESSAGE_STATUSES.join(', ')}`)
  return status
}
