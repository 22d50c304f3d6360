/**
 * Handlers' transactions on Postgres. The lock is an advisory one of the transaction, and nothing is set for the
 * session, so that a pooler in transaction mode serves.
 */
import { createHash } from 'node:crypto'
import { createTransactions, type HandlerConnection, type OpenTransactions } from './handler-transactions.ts'
import {
  createLink,
  cutStream,
  type Limits,
  type NewClient,
  type Opened,
  openClient,
  type PostgresPool,
  type Source,
  send,
} from './postgres-connection.ts'
import { isAnswer, toStoreError } from './postgres-errors.ts'
import { settleBatch } from './postgres-settle.ts'
import type { Names } from './postgres-values.ts'
import { StoreError } from './store.ts'
import type { TransactionClient } from './transactions.ts'

interface Connection extends HandlerConnection, Pick<Opened, 'client'> {
  /** Who serves this transaction, and one of the locks that it may have. */
  backend: readonly [pid: string, lockId: string] | undefined
}

/** The transactions of a store. `handlers`: where their connections come from, with the user's own settings. */
export function postgresTransactions(
  handlers: Source,
  names: Names,
  limits: Limits,
  lockWaitMs: number,
): OpenTransactions {
  const { name } = handlers
  /** Ends what has lasted long enough; it is connected when something has. */
  const ending = createLink(handlers, limits)

  async function connect(): Promise<Connection> {
    const { client, cut, end } = await handlers.connect(limits.connectMs)
    const closed = new Promise<void>((resolve) => void client.on('end', () => resolve()))
    return { tx: client as unknown as TransactionClient, client, closed, cut, end, backend: undefined }
  }

  async function run({ client }: Connection, sql: string): Promise<void> {
    await client.query({ text: sql })
  }

  const begin = (connection: Connection) => run(connection, 'BEGIN ISOLATION LEVEL READ COMMITTED')

  async function lockFree(connection: Connection, rowKeys: readonly string[]): Promise<string[]> {
    const ids = rowKeys.map((key) => lockIdOf(names, key))
    const [row] = await send(connection.client, { sql: LOCK_FREE, values: [ids] })
    connection.backend = [row?.[0] ?? '', ids[0] ?? '']
    const others = JSON.parse(row?.[1] ?? '[]') as string[]
    return rowKeys.filter((_, index) => others.includes(ids[index] ?? ''))
  }

  async function waitForLock(connection: Connection, rowKey: string, waitMs: number): Promise<void> {
    await begin(connection)
    try {
      // For this statement only: how long the handler's own may wait is the user's affair.
      await run(
        connection,
        `SET LOCAL lock_timeout = ${Math.ceil(waitMs)}; SELECT pg_advisory_xact_lock(${lockIdOf(names, rowKey)});
        SET LOCAL lock_timeout TO DEFAULT`,
      )
    } catch (error) {
      if (!isTimeUp(error)) throw error
      await run(connection, 'ROLLBACK')
      await begin(connection)
    }
  }

  async function kill({ backend }: Connection): Promise<void> {
    if (backend) await ending.call((query) => query({ sql: KILL, values: backend }))
  }

  const transactions = createTransactions<Connection>({
    name,
    timeoutMs: limits.callMs,
    connect,
    prepare: async () => undefined,
    check: async () => undefined,
    run,
    begin,
    lockFree,
    waitForLock,
    kill,
    settle: ({ client }, settlements) =>
      settleBatch((statement) => send(client, statement), names, lockWaitMs, settlements),
    isAnswer,
    toStoreError: (error, committing) => toStoreError(error, name, committing),
  })
  return {
    ...transactions,
    async close() {
      await Promise.all([transactions.close(), ending.close()])
    },
  }
}

/** Takes those that are free, and tells the others. */
const LOCK_FREE = `SELECT pg_backend_pid(), (SELECT json_agg(id::text)
  FROM unnest($1::bigint[]) AS wanted (id) WHERE NOT pg_try_advisory_xact_lock(id))`

/** By the lock as well: the number of a process that has ended may be another's by now. */
const KILL = `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE pid = $1::integer AND locktype = 'advisory'
  AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = $2::bigint`

/** Lock or statement timeout, the server's or ours. */
function isTimeUp(error: unknown): boolean {
  return ['55P03', '57014'].includes((error as { code?: string }).code ?? '')
}

/** What locks are called is a number. Two keys of one number would only wait for each other. */
function lockIdOf({ prefix }: Names, rowKey: string): string {
  const hash = createHash('sha256').update(`${prefix.toLowerCase()} ${rowKey}`)
  return hash.digest().readBigInt64BE().toString()
}

/**
 * Connections beside the user's pool, with its settings. What the pool's own events do to its connections is
 * not done to these.
 */
export function sourceBeside(pool: PostgresPool, { name }: Source): Source {
  return {
    name,
    async connect(timeoutMs) {
      const { Client, options } = pool as { Client?: new (options: object) => NewClient; options?: object }
      if (!Client || !options) {
        throw new StoreError(
          'setup',
          "session-lock: how this pool connects cannot be seen, and the transaction strategy needs connections beside it. Give the store a URL: 'postgres://user:password@host:5432/database'",
        )
      }
      // As it is: a copy would lose the password, which is not enumerable.
      const client = new Client(options)
      const limit = setTimeout(() => cutStream(client), timeoutMs)
      return openClient(client).finally(() => clearTimeout(limit))
    },
  }
}
