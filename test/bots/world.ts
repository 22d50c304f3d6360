/** Bots of one framework in processes of their own, and the platform that delivers to them. */
import { createHmac } from 'node:crypto'
import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { makePackageApp, type PackageApp } from '../package/package-app.ts'
import { makeTemporaryDirectory } from '../processes/guard.ts'
import { spawnNode } from '../processes/spawn-node.ts'

export interface Message {
  readonly id: number
  /** The chat, or the channel. */
  readonly chat: number
  readonly text?: 'hi' | 'hold' | 'throw'
}

/** What is delivered, as the framework's own platform writes it. */
export interface Framework {
  readonly name: string
  readonly settings: Readonly<Record<string, unknown>>
  body(message: Message): unknown
}

const telegramBody = ({ id, chat, text = 'hi' }: Message) => ({
  update_id: id,
  message: {
    message_id: id,
    date: 1_700_000_000,
    chat: { id: chat, type: 'private', first_name: 'Ada' },
    from: { id: chat, is_bot: false, first_name: 'Ada' },
    text,
  },
})

const slackBody = ({ id, chat, text = 'hi' }: Message) => ({
  type: 'event_callback',
  team_id: 'T1',
  api_app_id: 'A1',
  event_id: `Ev${id}`,
  event_time: 1_700_000_000,
  event: { type: 'message', channel: `D${chat}`, channel_type: 'im', user: `U${chat}`, ts: `1700000000.${id}`, text },
})

const bolt = (name: string, module: string): Framework => ({
  name,
  settings: { framework: 'bolt', module, processBeforeResponse: true },
  body: slackBody,
})

/** Every framework, each answering its platform after the handler. */
export const frameworks: readonly Framework[] = [
  { name: 'grammY', settings: { framework: 'grammy' }, body: telegramBody },
  { name: 'Telegraf 4', settings: { framework: 'telegraf' }, body: telegramBody },
  bolt('Bolt 4', 'bolt4'),
  bolt('Bolt 5', '@slack/bolt'),
]

/** Bolt as it is without options: it answers an event before anybody handles it. */
export const boltAnswersFirst: Framework = {
  name: 'Bolt 5, answering first',
  settings: { framework: 'bolt', module: '@slack/bolt', processBeforeResponse: false },
  body: slackBody,
}

export interface Bot {
  /** Delivers a message, and resolves to the answer's status. */
  deliver(message: Message): Promise<number>
  /** Posts a body of the platform's, and resolves to the answer. */
  post(body: string, type: string): Promise<Response>
  /** Lets the handlers go that hold. */
  open(): void
  kill(): void
}

export interface World {
  /** Starts a bot; all of a world share one SQLite file. */
  bot(): Promise<Bot>
  /** `start 1`, `end 1` … in the order in which the handlers of all bots wrote them. */
  notes(): string[]
  /** Waits until a handler has written this. */
  until(note: string): Promise<void>
}

let packed: Promise<PackageApp> | undefined

export async function createWorld(framework: Framework, lock: Readonly<Record<string, unknown>> = {}): Promise<World> {
  packed ??= makePackageApp(['better-sqlite3', 'grammy', 'telegraf', '@slack/bolt', 'bolt4'])
  const { directory } = await packed
  const script = join(directory, 'bot.mjs')
  if (!existsSync(script)) copyFileSync(new URL('bot.mjs', import.meta.url), script)
  const place = makeTemporaryDirectory('bots')
  const file = join(place, 'notes.jsonl')

  function notes(): string[] {
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : []
    return lines
      .map((line) => JSON.parse(line) as { what: string; id: number | string })
      .map(({ what, id }) => `${what} ${numberOf(id)}`)
  }

  return {
    notes,
    async until(note) {
      const giveUpAt = Date.now() + 10_000
      while (!notes().includes(note)) {
        if (Date.now() > giveUpAt) throw new Error(`no "${note}" within 10 s; the notes: ${notes().join(', ')}`)
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    },
    async bot() {
      const store = `sqlite:${join(place, 'bot.db')}`
      const BOT = JSON.stringify({ ...framework.settings, notes: file, lock: { store, ...lock } })
      const child = spawnNode(script, [], { BOT })
      onTestFinished(() => child.kill('SIGKILL'))
      const [, port] = await child.waitForLine(/^listening (\d+)$/)
      const post = (body: string, type: string) =>
        fetch(`http://127.0.0.1:${port}/`, { method: 'POST', headers: { 'content-type': type, ...signed(body) }, body })
      return {
        post,
        deliver: async (message) => (await post(JSON.stringify(framework.body(message)), 'application/json')).status,
        open: () => child.send('open'),
        kill: () => child.kill('SIGKILL'),
      }
    },
  }
}

/** Slack's event ids are text. */
function numberOf(id: number | string): number {
  return Number(String(id).replace(/\D/g, ''))
}

/** As Slack signs; Telegram signs nothing. */
function signed(body: string): Record<string, string> {
  const at = Math.floor(Date.now() / 1000)
  const signature = createHmac('sha256', 'secret').update(`v0:${at}:${body}`).digest('hex')
  return { 'x-slack-request-timestamp': String(at), 'x-slack-signature': `v0=${signature}` }
}
