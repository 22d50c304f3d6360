/** `session-lock retry` and `session-lock discard`: what is done with messages that the inbox has given up on. */
import type { SessionLock } from '../engine/lock.ts'
import { asJson, type Command, counted, type OptionValues, type Printed, UsageError } from './command.ts'
import { isConfirmed, YES_HELP, YES_OPTION } from './confirm.ts'
import { STORE_HELP, STORE_OPTIONS, withLock } from './store.ts'

const MOST = 10_000

const COMMON_HELP = `${YES_HELP}
  --json                an object with the count
  --help                this text`

const COMMON_OPTIONS: Command['options'] = {
  ...STORE_OPTIONS,
  ...YES_OPTION,
  all: { type: 'boolean' },
  json: { type: 'boolean' },
}

/** The command that queues them again. */
export const retryCommand: Command = {
  summary: 'queue dead messages again',
  help: `Usage: session-lock retry <message>... [options]
       session-lock retry --all [options]

Queues dead messages again, by their ids or keys, with their attempts counted from the beginning:
at the end of their session's line, or where they stand if they stopped it.
Ends with code 3 where none of those named was dead.

Options:
${STORE_HELP}
  --all                 all dead messages, at most ${MOST}; asks before
${COMMON_HELP}

Examples:
  npx session-lock retry wamid.HBgLMTU1NTAwMDIyMjIVAgASGBQzQTAx --store sqlite:./bot.db
  npx session-lock retry --all --yes`,
  options: COMMON_OPTIONS,
  takesNames: true,
  takesLong: true,
  run: (values, names) => change(values, names, { verb: 'queue', done: 'queued again', call: 'retry' }),
}

/** The command that drops them. */
export const discardCommand: Command = {
  summary: 'give up on dead or queued messages',
  help: `Usage: session-lock discard <message>... [options]
       session-lock discard --all [options]

Marks dead or queued messages as completed, by their ids or keys, without handling them: no
redelivery is handled either. A session that was stopped at one of them goes on. Never one in hand.
Ends with code 3 where there were none of those named.

Options:
${STORE_HELP}
  --all                 all dead messages, at most ${MOST}; asks before
${COMMON_HELP}

Examples:
  npx session-lock discard wamid.HBgLMTU1NTAwMDIyMjIVAgASGBQzQTAx --store sqlite:./bot.db
  npx session-lock discard --all --yes`,
  options: COMMON_OPTIONS,
  takesNames: true,
  takesLong: true,
  run: (values, names) => change(values, names, { verb: 'discard', done: 'discarded', call: 'discard' }),
}

interface Change {
  readonly verb: string
  readonly done: string
  readonly call: 'retry' | 'discard'
}

async function change(values: OptionValues, names: readonly string[], { verb, done, call }: Change): Promise<Printed> {
  const all = values['all'] === true
  if (all === names.length > 0) throw new UsageError(`${call} takes ids of messages, or --all`)
  return withLock(values, async (lock) => {
    const ids = all ? await deadKeys(lock) : names
    const agreed = !all || ids.length === 0 || (await isConfirmed(values, `${verb} ${counted(ids.length, 'message')}?`))
    const count = agreed && ids.length > 0 ? await lock[call](...ids) : 0
    const text = values['json'] === true ? asJson({ count }) : `${counted(count, 'message')} ${done}`
    return { text, code: count > 0 || (all && agreed) ? 0 : 3 }
  })
}

async function deadKeys(lock: SessionLock): Promise<string[]> {
  return (await lock.messages({ status: 'dead', limit: MOST })).map(({ key }) => key)
}
