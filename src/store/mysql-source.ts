/** Where connections of the MySQL store come from: a URL, or the user's own pool. */
import { StoreError } from './store.ts'
import { makeOfUrl, readStoreUrl } from './store-url.ts'

/** What is used of a connection of mysql2's promise flavour. */
export interface MysqlConnection {
  query(options: object): Promise<[unknown, unknown]>
  destroy(): void
  end(): Promise<unknown>
  on(event: 'error', listener: (error: Error) => void): unknown
}

/** A pool of `mysql2/promise`. */
export interface MysqlPromisePool {
  getConnection(): Promise<MysqlConnection>
}

/** A pool of `mysql2` itself, whose methods take callbacks. */
export interface MysqlCallbackPool {
  promise(): MysqlPromisePool
}

/** The user's own mysql2 pool, of either flavour. */
export type MysqlPool = MysqlPromisePool | MysqlCallbackPool

/** Where connections come from. */
export interface Source {
  /** For logs and errors, without user and password. */
  readonly name: string
  /** How many connections it must have to give, where that is its owner's to choose. */
  readonly needs?: string
  connect(timeoutMs: number): Promise<MysqlConnection>
  /** Does one text hold several statements? Not the driver's default; what a pool has instead is not to be seen. */
  readonly takesSeveral?: boolean
  /** A polite end, where it is ours. A pool's is only cut: it must not go back with our settings on it. */
  goodbye?(connection: MysqlConnection): Promise<unknown>
}

/**
 * What the driver is to do on connections that only we use. Their statements are our own, with every value escaped, so
 * that several in one text are no door for anybody else's. Without `trace` it takes no stack for each statement.
 */
const OWN_SETTINGS = { charset: 'utf8mb4', multipleStatements: true, trace: false }

/** Connections of our own, by URL. Throws a {@link StoreError} of kind `setup` for a wrong URL or a missing driver. */
export async function urlSource(url: string): Promise<Source> {
  return { ...(await handlersSource(url, OWN_SETTINGS)), takesSeveral: true }
}

/** The same for handlers, with the driver's own defaults unless there are `settings`. */
export async function handlersSource(url: string, settings: object = {}): Promise<Source> {
  const { name, uri } = readUrl(url)
  const { createConnection } = await import('mysql2/promise').catch((cause) => {
    throw new StoreError('setup', 'session-lock: the MySQL store needs the driver: npm install mysql2', { cause })
  })
  return {
    name,
    connect: async (connectTimeout) => makeOfUrl(name, () => createConnection({ uri, connectTimeout, ...settings })),
    goodbye: (connection) => connection.end(),
  }
}

/** Connections out of the user's pool. */
export function poolSource(pool: MysqlPool): Source {
  const promisePool = 'promise' in pool ? pool.promise() : pool
  return {
    name: 'mysql: (own pool)',
    needs: 'of a pool, session-lock needs two, and one more while it makes its tables',
    connect: () => promisePool.getConnection(),
  }
}

function readUrl(url: string): { name: string; uri: string } {
  const problem = "session-lock: the MySQL store's URL must be like mysql://user:password@host:3306/database"
  const { protocol, hostname, port, pathname } = readStoreUrl(url, problem)
  if (protocol !== 'mysql:' && protocol !== 'mariadb:') {
    throw new StoreError('setup', `${problem}, or mariadb://…, not ${protocol}//…`)
  }
  if (hostname === '') throw new StoreError('setup', `${problem}; it names no host`)
  if (pathname.length < 2) throw new StoreError('setup', `${problem}; it names no database`)
  return { name: `mysql://${hostname}:${port || 3306}${pathname}`, uri: `mysql:${url.slice(url.indexOf(':') + 1)}` }
}
