/** Bots in processes of their own, from the packed package, and a provider that posts to them. */
import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { makePackageApp, type PackageApp } from '../package/package-app.ts'
import { makeTemporaryDirectory } from '../processes/guard.ts'
import { type NodeProcess, spawnNode } from '../processes/spawn-node.ts'

/** How the package is loaded, and what it keeps its rows in. */
export interface Installation {
  readonly name: string
  readonly load: 'import' | 'require'
  store(): string
}

/** MariaDB, Postgres, SQLite and Redis, by `import` and by `require`. */
export const installations: readonly Installation[] = [
  { name: 'MariaDB, imported from the tarball', load: 'import', store: mysqlUrl },
  { name: 'Postgres, imported from the tarball', load: 'import', store: postgresUrl },
  {
    name: 'SQLite, required from the tarball',
    load: 'require',
    store: () => `sqlite:${join(makeTemporaryDirectory('sqlite'), 'bot.db')}`,
  },
  { name: 'Redis, imported from the tarball', load: 'import', store: redisUrl },
]

function redisUrl(): string {
  const url = process.env['TEST_REDIS_URL']
  if (!url) throw new Error('TEST_REDIS_URL is not set: run the tests with "npm test", which starts a Redis')
  return url
}

export function mysqlUrl(): string {
  const url = process.env['TEST_MYSQL_URL']
  if (!url) throw new Error('TEST_MYSQL_URL is not set: run the tests with "npm test", which starts a database')
  return url
}

function postgresUrl(): string {
  const url = process.env['TEST_POSTGRES_URL']
  if (!url) throw new Error('TEST_POSTGRES_URL is not set: run the tests with "npm test", which starts a database')
  return url
}

/** What the bots wrote down of their handlers. */
export interface Note {
  readonly what: 'start' | 'end' | 'aborted' | 'lost' | 'takeover' | 'after' | 'unhandledRejection'
  readonly ids: readonly string[]
  readonly sessions?: readonly string[]
  readonly fencingToken?: number
  readonly loss?: string
  readonly ageMs?: number
  readonly error?: string
  readonly pid: number
  readonly at: number
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: string
  readonly tookMs: number
}

export interface Bot {
  readonly process: NodeProcess
  readonly url: string
  /** Posts a delivery, to `/webhook` unless another path is given. */
  post(body: unknown, options?: { path?: string; signal?: AbortSignal }): Promise<Answer>
  /** Calls a function of the bot's lock. */
  ask(name: 'sessions' | 'messages' | 'stats' | 'release' | 'close', argument?: unknown): Promise<unknown>
}

export interface World {
  /** Starts a bot; all of a world share one store and one set of tables. */
  bot(lock?: Record<string, unknown>): Promise<Bot>
  notes(): Note[]
  /** How often a handler began with this message. */
  runs(id: string): number
  /** Waits until the bots have written such a note. */
  until(find: (notes: Note[]) => boolean): Promise<void>
}

let packed: Promise<PackageApp> | undefined
let worlds = 0

export async function createWorld(installation: Installation, store = installation.store()): Promise<World> {
  packed ??= makePackageApp()
  const app = await packed
  const script = join(app.directory, 'bot.mjs')
  if (!existsSync(script)) copyFileSync(new URL('bot.mjs', import.meta.url), script)
  const runs = join(makeTemporaryDirectory('runs'), 'runs.jsonl')
  worlds += 1
  const tablePrefix = `w${process.pid}_${worlds}_`

  function notes(): Note[] {
    if (!existsSync(runs)) return []
    const lines = readFileSync(runs, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
    return lines.map((line) => JSON.parse(line) as Note)
  }

  return {
    notes,
    runs: (id) => notes().filter((note) => note.what === 'start' && note.ids.includes(id)).length,
    async until(find) {
      const giveUpAt = Date.now() + 20_000
      while (!find(notes())) {
        if (Date.now() > giveUpAt)
          throw new Error(`not seen within 20 s; the notes: ${JSON.stringify(notes(), null, 1)}`)
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    },
    async bot(lock = {}) {
      const settings = { load: installation.load, runs, lock: { store, tablePrefix, ...lock } }
      const child = spawnNode(script, [], { BOT: JSON.stringify(settings), NODE_ENV: 'production' })
      const [, port] = await child.waitForLine(/^listening (\d+)$/)
      const url = `http://127.0.0.1:${port}`
      return {
        process: child,
        url,
        post: (body, { path = '/webhook', signal } = {}) => post(url + path, body, signal),
        async ask(name, argument) {
          child.send(JSON.stringify([name, argument]))
          const [, answer] = await child.waitForLine(/^answer (.*)$/)
          return JSON.parse(answer as string)
        },
      }
    },
  }
}

export async function post(url: string, body: unknown, signal?: AbortSignal): Promise<Answer> {
  const from = performance.now()
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    redirect: 'manual',
    ...(signal && { signal }),
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: text, tookMs: performance.now() - from }
}

export interface SentMessage {
  readonly id: unknown
  readonly from?: unknown
  /** What the handler is to do. */
  readonly task?: Record<string, unknown>
}

/** A delivery of the Cloud API's shape; each array of messages becomes an entry. */
export function delivery(...entries: SentMessage[][]): unknown {
  return {
    object: 'whatsapp_business_account',
    entry: entries.map((messages, index) => ({
      id: String(index),
      changes: [
        {
          field: 'messages',
          value: {
            messaging_product: 'whatsapp',
            metadata: { display_phone_number: '15550001111', phone_number_id: '100000000000001' },
            messages: messages.map(({ id, from = '15550002222', task = {} }) => ({
              from,
              id,
              timestamp: '1700000000',
              type: 'text',
              text: { body: JSON.stringify(task) },
            })),
          },
        },
      ],
    })),
  }
}

/** A delivery with one status of a message that the bot sent. */
export function statusDelivery(id: string, status: string): unknown {
  return {
    object: 'whatsapp_business_account',
    entry: [
      {
        id: '0',
        changes: [
          {
            field: 'messages',
            value: {
              messaging_product: 'whatsapp',
              metadata: { display_phone_number: '15550001111', phone_number_id: '100000000000001' },
              statuses: [{ id, status, timestamp: '1700000000', recipient_id: '15550002222' }],
            },
          },
        ],
      },
    ],
  }
}

/** Posts again and again, as a provider does, until the answer is 2xx. */
export async function deliver(bots: readonly Bot[], body: unknown): Promise<Answer[]> {
  const answers: Answer[] = []
  for (let attempt = 0; ; attempt += 1) {
    const bot = bots[attempt % bots.length] as Bot
    // A kept-alive connection can be closed by the bot just when it is used again.
    const answer = await bot.post(body).catch((error: Error) => error)
    if (!(answer instanceof Error)) answers.push(answer)
    if (!(answer instanceof Error) && answer.status >= 200 && answer.status < 300) return answers
    if (attempt > 50) throw new Error(`never accepted; the last answer: ${JSON.stringify(answer)}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Two runs of one session at the same time, if there were any. */
export function overlaps(notes: readonly Note[]): string[] {
  const running = new Map<string, string>()
  const found: string[] = []
  for (const note of notes) {
    const name = note.ids.join()
    for (const session of new Set(note.sessions)) {
      if (note.what === 'start') {
        const other = running.get(session)
        if (other !== undefined) found.push(`${session}: ${other} and ${name}`)
        running.set(session, name)
      } else if (note.what === 'end' && running.get(session) === name) running.delete(session)
    }
  }
  return found
}
