/**
 * Handlers' transactions on MySQL and MariaDB. The lock is that of a row in a table of its own. A wait for it is
 * ended by KILL QUERY, since InnoDB's own limit has whole seconds only, and is a setting that would stay behind.
 */
import { type EventEmitter, once } from 'node:events'
import type { Duplex } from 'node:stream'
import { createTransactions, type HandlerConnection, type OpenTransactions } from './handler-transactions.ts'
import { sorted } from './key-order.ts'
import { createLink, cut as cutConnection, type Limits, requireUtf8, send } from './mysql-connection.ts'
import { isAnswer, toStoreError } from './mysql-errors.ts'
import { isGaleraNode } from './mysql-galera.ts'
import { settleOneByOne } from './mysql-settle.ts'
import type { MysqlConnection, MysqlPool, Source } from './mysql-source.ts'
import type { Statement, TableNames } from './mysql-statements.ts'
import { integer, text } from './mysql-values.ts'
import { StoreError } from './store.ts'
import type { TransactionClient } from './transactions.ts'

/** A handler's connection, and what KILL knows it by. */
interface Connection extends HandlerConnection {
  readonly driver: MysqlConnection
  id: number
}

/** The transactions of a store. `handlers`: where their connections come from, with the user's own settings. */
export function mysqlTransactions(handlers: Source, names: TableNames, limits: Limits): OpenTransactions {
  const { name } = handlers
  /** Ends what has lasted long enough; it is connected when something has. */
  const ending = createLink(handlers, limits)

  async function connect(): Promise<Connection> {
    const driver = await handlers.connect(limits.connectMs)
    // Without a listener, a connection that is lost would end the process.
    driver.on('error', () => undefined)
    const { stream } = (driver as unknown as { connection: { stream: Duplex } }).connection
    return {
      tx: driver as unknown as TransactionClient,
      driver,
      id: 0,
      // After the driver's own listener: by then, whatever was being asked has its error.
      closed: new Promise((resolve) => stream.once('close', resolve)),
      // The driver's own way leaves those who wait for an answer waiting.
      cut: () => void stream.destroy(cutOff()),
      end: () => driver.end(),
    }
  }

  async function prepare(connection: Connection): Promise<void> {
    const [row] = (await send(connection.driver, WHO_AM_I)).rows
    connection.id = integer(row?.[0])
    requireUtf8(text(row?.[1]))
    requireBackslashes(text(row?.[2]))
  }

  const say = (connection: Connection, sql: string) => send(connection.driver, { sql, values: [] }).then(noValue)

  async function begin(connection: Connection): Promise<void> {
    // For this one only, whatever the session's own is.
    await say(connection, 'SET TRANSACTION ISOLATION LEVEL READ COMMITTED')
    await say(connection, 'START TRANSACTION')
  }

  async function lockFree(connection: Connection, rowKeys: readonly string[]): Promise<string[]> {
    for (;;) {
      const others = without(rowKeys, await send(connection.driver, lockRows(names, rowKeys, ' SKIP LOCKED')))
      if (others.length === 0) return []
      const missing = without(others, await send(connection.driver, findRows(names, others)))
      if (missing.length === 0) return others
      // Outside the transaction: whoever waits for a row that is rolled back again ends in a deadlock.
      await say(connection, 'ROLLBACK')
      // It waits for somebody who has made and locked the same row meanwhile: a moment will do.
      await interruptible(connection, insertRows(names, missing), INSERT_MS)
      await begin(connection)
    }
  }

  async function waitForLock(connection: Connection, rowKey: string, waitMs: number): Promise<void> {
    await begin(connection)
    if (await interruptible(connection, lockRows(names, [rowKey]), waitMs)) return
    // What is undone is the statement only, or on some servers the whole transaction.
    await say(connection, 'ROLLBACK')
    await begin(connection)
  }

  async function kill(what: 'QUERY' | 'CONNECTION', id: number): Promise<void> {
    await ending.transaction((query) => query({ sql: `KILL ${what} ${id}`, values: [] }))
  }

  /** Runs a statement for so long; false where it was ended. */
  async function interruptible({ driver, id, cut }: Connection, statement: Statement, forMs: number): Promise<boolean> {
    let killing: Promise<void> | undefined
    const timer = setTimeout(() => {
      killing = kill('QUERY', id).catch(cut)
    }, forMs)
    try {
      await send(driver, statement)
      return true
    } catch (error) {
      if (!isTimeUp(error)) throw error
      return false
    } finally {
      clearTimeout(timer)
      if (killing) {
        await killing
        // It may have come too late, and would end the next statement.
        await send(driver, NOTHING).catch(() => undefined)
      }
    }
  }

  const transactions = createTransactions<Connection>({
    name,
    timeoutMs: limits.callMs,
    connect,
    prepare,
    check: ({ driver }) => refuseCluster(name, driver),
    run: say,
    begin,
    lockFree,
    waitForLock,
    kill: ({ id }) => kill('CONNECTION', id),
    settle: ({ driver }, settlements) => settleOneByOne((statement) => send(driver, statement), names, settlements),
    isAnswer,
    toStoreError: (error, committing) => toStoreError(error, name, committing),
  })
  return {
    ...transactions,
    close: () => Promise.all([transactions.close(), ending.close()]).then(noValue),
  }
}

/** A row that is just being made by two at once. */
const INSERT_MS = 100

const WHO_AM_I: Statement = { sql: 'SELECT CONNECTION_ID(), @@character_set_client, @@sql_mode', values: [] }
const NOTHING: Statement = { sql: 'DO 0', values: [] }

/** The server's limits on a lock wait or a statement, or ours. */
function isTimeUp(error: unknown): boolean {
  return [1205, 1317, 1969, 3024].includes((error as { errno?: number }).errno ?? 0)
}

function noValue(): void {}

function cutOff(): Error {
  const text = 'session-lock: the connection of this transaction was cut, and all of it is rolled back'
  return Object.assign(new Error(text), { code: 'PROTOCOL_CONNECTION_LOST', fatal: true })
}

/** SKIP LOCKED passes over those that others hold; without it they are waited for. */
export function lockRows({ locks }: TableNames, keys: readonly string[], suffix: ' SKIP LOCKED' | '' = ''): Statement {
  return {
    // With another column than the key, else the optimizer takes the primary key for an index that covers
    // all that is asked for, and scans it.
    sql: `SELECT session_key, created_at FROM ${locks} FORCE INDEX (PRIMARY)
      WHERE session_key IN (?) ORDER BY session_key FOR UPDATE${suffix}`,
    values: [sorted(keys)],
  }
}

function findRows({ locks }: TableNames, keys: readonly string[]): Statement {
  return { sql: `SELECT session_key FROM ${locks} WHERE session_key IN (?)`, values: [sorted(keys)] }
}

function insertRows({ locks }: TableNames, keys: readonly string[]): Statement {
  const rows = sorted(keys).map((key) => [key])
  const values = rows.map(() => '(?, UTC_TIMESTAMP(6))').join(', ')
  return { sql: `INSERT IGNORE INTO ${locks} (session_key, created_at) VALUES ${values}`, values: rows.flat() }
}

function without(keys: readonly string[], { rows }: { rows: ReadonlyArray<ReadonlyArray<Buffer | null>> }): string[] {
  const found = new Set(rows.map(([key]) => text(key)))
  return keys.filter((key) => !found.has(key))
}

/** The driver escapes texts with them, also a stranger's; where they mean nothing, such a text could end its own quotes. */
function requireBackslashes(sqlMode: string): void {
  if (!sqlMode.split(',').includes('NO_BACKSLASH_ESCAPES')) return
  throw new StoreError(
    'setup',
    "session-lock: the connections of handlers have NO_BACKSLASH_ESCAPES in their sql_mode, which the driver's quoting " +
      'does not know. Take it out of the sql_mode of this server or user',
  )
}

async function refuseCluster(name: string, driver: MysqlConnection): Promise<void> {
  if (!(await isGaleraNode((statement) => send(driver, statement)))) return
  throw new StoreError(
    'setup',
    `session-lock: ${name} is a Galera cluster, where row locks and GET_LOCK are local to a node, so that two nodes ` +
      "would hold one session at once. Set the option strategy to 'lease', which is safe there",
  )
}

/**
 * Connections beside the user's pool, with its settings. What the pool's own events do to its connections is
 * not done to these.
 */
export function sourceBeside(pool: MysqlPool, { name }: Source): Source {
  return {
    name,
    async connect(timeoutMs) {
      // A promise pool has the pool itself inside.
      const { config } = ('pool' in pool ? pool.pool : pool) as { config?: { connectionConfig?: object } }
      if (!config?.connectionConfig) {
        throw new StoreError(
          'setup',
          "session-lock: how this pool connects cannot be seen, and the transaction strategy needs connections beside it. Give the store a URL: 'mysql://user:password@host:3306/database'",
        )
      }
      const { Connection } = (await import('mysql2')).default as unknown as MysqlModule
      const core = new Connection({ config: config.connectionConfig })
      const connection = core.promise()
      await once(core, 'connect', { signal: AbortSignal.timeout(timeoutMs) }).catch((error: unknown) => {
        cutConnection(connection)
        throw error
      })
      return connection
    },
  }
}

/** What the driver has and its types do not tell. */
interface MysqlModule {
  readonly Connection: new (options: { readonly config: object }) => EventEmitter & { promise(): MysqlConnection }
}
