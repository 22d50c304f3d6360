/** What the tests of the transaction strategy share: locks over one set of tables, and an account that handlers add to. */
import { randomBytes } from 'node:crypto'
import { createConnection, createPool, type RowDataPacket } from 'mysql2/promise'
import { Client, Pool } from 'pg'
import { onTestFinished } from 'vitest'
import { createSessionLock, type SessionLock, type SessionLockOptions, type StoreSource } from '../../src/index.ts'
import type { TransactionClient } from '../../src/store/transactions.ts'
import { dropTables, mysqlUrl } from '../stores/mysql-tables.ts'
import { until } from '../stores/mysql-world.ts'
import { dropPostgresTables, postgresUrl } from '../stores/postgres-tables.ts'

/** A connection beside the lock's. */
export interface Bare {
  /** The rows, as objects. */
  query(sql: string): Promise<Record<string, unknown>[]>
  end(): Promise<unknown>
}

export interface UserPool {
  readonly store: StoreSource
  query(sql: string): Promise<Record<string, unknown>[]>
  end(): Promise<void>
}

/** One of the two databases that have the strategy. */
export interface Database {
  readonly name: 'MariaDB' | 'Postgres'
  url(): string
  connect(): Promise<Bare>
  dropTables(prefixes: ReadonlySet<string>): Promise<void>
  /** The user's own pool. The store takes all but one of its connections. */
  pool(): UserPool
  /** The type of a column that counts by itself. */
  readonly serial: string
  /** The id of the connection that runs it. */
  readonly connectionId: string
  /** Cuts that connection, on the server. */
  kill(id: unknown): string
  /** Takes a minute. */
  readonly sleep: string
  /** How many wait for somebody's lock, by the text of their statements: a `LIKE` pattern. */
  waiting(statement: string): string
  /** How a statement that waits for a session's lock begins. */
  lockStatement(tablePrefix: string): string
}

export const mariadb: Database = {
  name: 'MariaDB',
  url: mysqlUrl,
  async connect() {
    const connection = await createConnection(mysqlUrl())
    return { query: async (sql) => (await connection.query<RowDataPacket[]>(sql))[0], end: () => connection.end() }
  },
  pool() {
    const pool = createPool({ uri: mysqlUrl(), connectionLimit: 3 })
    return {
      store: pool,
      query: async (sql) => (await pool.query<RowDataPacket[]>(sql))[0],
      end: () => pool.end(),
    }
  },
  dropTables,
  serial: 'INT AUTO_INCREMENT',
  connectionId: 'SELECT CONNECTION_ID() AS id',
  kill: (id) => `KILL ${id}`,
  sleep: 'SELECT SLEEP(60)',
  waiting: (statement) =>
    `SELECT id FROM information_schema.processlist WHERE info LIKE '${statement}' AND id <> CONNECTION_ID()`,
  lockStatement: (tablePrefix) => `SELECT session_key, created_at FROM ${tablePrefix}locks%FOR UPDATE`,
}

export const postgres: Database = {
  name: 'Postgres',
  url: postgresUrl,
  async connect() {
    const client = new Client({ connectionString: postgresUrl() })
    await client.connect()
    return { query: async (sql) => (await client.query(sql)).rows, end: () => client.end() }
  },
  pool() {
    const pool = new Pool({ connectionString: postgresUrl(), max: 4 })
    return { store: pool, query: async (sql) => (await pool.query(sql)).rows, end: () => pool.end() }
  },
  dropTables: dropPostgresTables,
  serial: 'SERIAL',
  connectionId: 'SELECT pg_backend_pid() AS id',
  kill: (id) => `SELECT pg_terminate_backend(${id})`,
  sleep: 'SELECT pg_sleep(60)',
  waiting: (statement) =>
    `SELECT pid AS id FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '${statement}'`,
  lockStatement: () => 'SET LOCAL lock_timeout%',
}

export const databases: readonly Database[] = [mariadb, postgres]

/** The rows that `lease.tx.query` found, whichever driver it is. */
export async function rowsOf(tx: TransactionClient, sql: string): Promise<Record<string, unknown>[]> {
  const answer: unknown = await tx.query(sql)
  return (Array.isArray(answer) ? answer[0] : (answer as { rows: unknown }).rows) as Record<string, unknown>[]
}

export interface World {
  readonly database: Database
  readonly tablePrefix: string
  readonly bare: Bare
  /** Another node over the same tables; closed after the test. */
  lock(options?: SessionLockOptions): SessionLock<TransactionClient>
  /** Adds 1 to the account. */
  readonly add: string
  balance(): Promise<number>
  /** Settles when somebody waits in the database for the lock of a session. */
  untilBlocked(): Promise<unknown>
  /** The rows that are there to be locked, where locks need any. */
  locks(): Promise<string[]>
  /** Makes them an hour old. */
  ageLocks(): Promise<unknown>
}

/** Fresh tables of one test. */
export async function createWorld(database: Database): Promise<World> {
  const tablePrefix = `x${randomBytes(6).toString('hex')}_`
  const accounts = `${tablePrefix}accounts`
  const bare = await database.connect()
  onTestFinished(async () => {
    await bare.end()
    await database.dropTables(new Set([tablePrefix]))
  })
  await bare.query(`CREATE TABLE ${accounts} (id INT PRIMARY KEY, balance INT NOT NULL)`)
  await bare.query(`INSERT INTO ${accounts} VALUES (1, 0)`)
  return {
    database,
    tablePrefix,
    bare,
    lock(options = {}) {
      const settings = { store: database.url(), tablePrefix, logger: false, strategy: 'transaction' } as const
      const lock = createSessionLock({ ...settings, ...options }) as SessionLock<TransactionClient>
      onTestFinished(() => lock.close())
      return lock
    },
    add: `UPDATE ${accounts} SET balance = balance + 1 WHERE id = 1`,
    balance: async () => Number((await bare.query(`SELECT balance FROM ${accounts}`))[0]?.['balance']),
    async untilBlocked() {
      let id: unknown
      await until('somebody waits for a session’s lock', async () => {
        const [row] = await bare.query(database.waiting(database.lockStatement(tablePrefix)))
        id = row?.['id']
        return row !== undefined
      })
      return id
    },
    async locks() {
      if (database !== mariadb) return []
      const rows = await bare.query(`SELECT CAST(session_key AS CHAR) AS name FROM ${tablePrefix}locks`)
      return rows.map((row) => String(row['name']))
    },
    async ageLocks() {
      if (database !== mariadb) return
      await bare.query(`UPDATE ${tablePrefix}locks SET created_at = created_at - INTERVAL 1 HOUR`)
    },
  }
}

/** A point that a handler comes to, and goes on from when it is told to. */
export function gate() {
  let enter: () => void = () => undefined
  let open: () => void = () => undefined
  const entered = new Promise<void>((resolve) => (enter = resolve))
  const opened = new Promise<void>((resolve) => (open = resolve))
  return {
    /** In the handler. */
    pass: () => {
      enter()
      return opened
    },
    entered,
    open: () => open(),
  }
}
