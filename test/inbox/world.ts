/** Inboxes over fresh tables of each store that has a queue. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { createInbox, type Inbox, type InboxMessage, type InboxOptions } from '../../src/inbox/index.ts'
import { createSessionLock, type SessionLock, type SessionLockOptions } from '../../src/index.ts'
import { makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'
import { dropTables, mysqlUrl } from '../stores/mysql-tables.ts'
import { dropPostgresTables, postgresUrl } from '../stores/postgres-tables.ts'

/** A store with a queue, as an option; the prefix sets its tables apart. */
export interface QueueStore {
  readonly name: string
  options(): { readonly store: string; readonly tablePrefix: string }
}

const directory = makeTemporaryDirectory('inbox')
const mysqlPrefixes = new Set<string>()
const postgresPrefixes = new Set<string>()
afterAll(async () => {
  await dropTables(mysqlPrefixes)
  await dropPostgresTables(postgresPrefixes)
  await removeTemporaryDirectory(directory)
})

function newPrefix(): string {
  return `i${randomBytes(5).toString('hex')}_`
}

export const queueStores: readonly QueueStore[] = [
  {
    name: 'SQLite',
    options: () => ({ store: `sqlite:${join(directory, `${newPrefix()}.db`)}`, tablePrefix: 'session_lock_' }),
  },
  {
    name: 'MariaDB',
    options() {
      const tablePrefix = newPrefix()
      mysqlPrefixes.add(tablePrefix)
      return { store: mysqlUrl(), tablePrefix }
    },
  },
  {
    name: 'Postgres',
    options() {
      const tablePrefix = newPrefix()
      postgresPrefixes.add(tablePrefix)
      return { store: postgresUrl(), tablePrefix }
    },
  },
]

/** A node with an inbox, and what its handler was called with. */
export interface InboxWorld {
  readonly lock: SessionLock
  readonly inbox: Inbox
  /** The ids of each call, in order. */
  readonly calls: string[][]
  /** Stores messages of one session, a delivery each; resolves when all are on disk. */
  send(session: string, ...ids: string[]): Promise<void>
  /** Waits until so many calls have been made. */
  untilCalls(count: number): Promise<void>
  /** Waits until nothing waits and nothing is in hand. */
  untilEmpty(): Promise<void>
  close(): Promise<void>
}

type Handler = (messages: readonly InboxMessage[], call: number, signal: AbortSignal) => unknown

/** Starts a node; `handler` may throw, and knows the how-manieth call it is. */
export async function startInbox(
  store: Pick<SessionLockOptions, 'store' | 'tablePrefix'>,
  handler: Handler = () => undefined,
  options: Partial<InboxOptions> & { readonly lockOptions?: SessionLockOptions } = {},
): Promise<InboxWorld> {
  const { lockOptions, ...inboxOptions } = options
  const lock = createSessionLock({ logger: false, ...store, ...lockOptions })
  const calls: string[][] = []
  const inbox = createInbox({
    lock,
    handler(messages, lease) {
      calls.push(messages.map(({ id }) => id))
      return handler(messages, calls.length, lease.signal)
    },
    retryAfterMs: 1,
    pollMs: 20,
    ...inboxOptions,
  })
  await inbox.start()
  const send = async (session: string, ...ids: string[]) => {
    for (const id of ids) {
      const message = { id, prospect: session, device: 'bot', kind: 'message' as const }
      await inbox.accept({ provider: 'test', messages: [message] }, { text: `text of ${id}` })
    }
  }
  return {
    lock,
    inbox,
    calls,
    send,
    untilCalls: (count) => expect.poll(() => calls.length, { timeout: 20_000 }).toBe(count),
    untilEmpty: () =>
      expect
        .poll(async () => ({ ...(await inbox.stats()), sessionsHeld: (await lock.sessions()).length }), {
          timeout: 20_000,
        })
        .toMatchObject({ messages: 0, sessions: 0, sessionsHeld: 0 }),
    async close() {
      await inbox.stop()
      await lock.close()
    },
  }
}
