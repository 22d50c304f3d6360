/** A store from what the user gave: a URL, a pool or database of their own, or a store. */
import { requireTablePrefix } from './migrate.ts'
import type { MysqlPool } from './mysql.ts'
import type { PostgresPool } from './postgres.ts'
import type { RedisClient } from './redis-client.ts'
import type { SqliteDatabase } from './sqlite-driver.ts'
import { type Store, StoreError, type StoreSettings } from './store.ts'
import { isCutShort } from './store-url.ts'

/**
 * What a store is opened from: a URL, a store, the user's own pool of `mysql2` or `pg`, the
 * user's own client of `ioredis` (`Redis` or `Cluster`), or the user's own database of `better-sqlite3` or `node:sqlite`.
 */
export type StoreSource = string | Store | MysqlPool | PostgresPool | RedisClient | SqliteDatabase

type Open = (url: string, settings: StoreSettings) => Promise<Store>

// Imported when wanted: no store, and no driver, is loaded for nothing.
const openSqlite: Open = async (url, settings) => (await import('./sqlite.ts')).sqliteStore(url, settings)
const openMysql: Open = async (url, settings) => (await import('./mysql.ts')).mysqlStore(url, settings)
const openPostgres: Open = async (url, settings) => (await import('./postgres.ts')).postgresStore(url, settings)
const openRedis: Open = async (url, settings) => (await import('./redis.ts')).redisStore(url, settings)
const openMemory: Open = async (_, settings) => (await import('./memory.ts')).memoryStore(settings)

const SCHEMES: Readonly<Record<string, Open>> = {
  memory: openMemory,
  sqlite: openSqlite,
  mysql: openMysql,
  mariadb: openMysql,
  postgres: openPostgres,
  postgresql: openPostgres,
  redis: openRedis,
  rediss: openRedis,
}

const EXAMPLES =
  'memory:, sqlite:./bot.db, mysql://user:password@host/database, mariadb://user:password@host/database, ' +
  'postgres://user:password@host/database, redis://user:password@host:6379/0, rediss://…'

/**
 * Opens a store.
 *
 * @param source - see {@link StoreSource}. URLs: `memory:`, `sqlite:./bot.db`, `sqlite::memory:`,
 *   `mysql://user:password@host:3306/database`, `mariadb://…`, `postgres://user:password@host:5432/database`,
 *   `postgresql://…`, `redis://user:password@host:6379/0`, `rediss://…` (of a cluster any node).
 * @returns `opened`: whether a store was made here, so that the caller closes it; false where the
 *   source is a store, which is its owner's to close. Closing never closes the user's pool, client or database.
 * @throws {@link StoreError} of kind `setup`: the scheme is unknown, the driver is missing, the file
 *   cannot be opened. The text holds no password.
 *
 * @example
 * const { store, opened } = await openStore('sqlite:./bot.db', { tablePrefix: 'session_lock_', timeoutMs: 5000 })
 * if (opened) await store.close()
 */
export async function openStore(
  source: StoreSource,
  settings: StoreSettings,
): Promise<{ store: Store; opened: boolean }> {
  if (isStore(source)) return { store: source, opened: false }
  requireTablePrefix(settings.tablePrefix)
  if (typeof source === 'string') return { store: await openUrl(source, settings), opened: true }
  if (isSqliteDatabase(source)) {
    return { store: await (await import('./sqlite.ts')).sqliteStore(source, settings), opened: true }
  }
  if (isMysqlPool(source))
    return { store: await (await import('./mysql.ts')).mysqlStore(source, settings), opened: true }
  if (isPostgresPool(source))
    return { store: await (await import('./postgres.ts')).postgresStore(source, settings), opened: true }
  if (isRedisClient(source))
    return { store: await (await import('./redis.ts')).redisStore(source, settings), opened: true }
  throw new StoreError(
    'setup',
    'session-lock: this is no store: give a URL, a pool of mysql2 or pg, a client of ioredis, a database of better-sqlite3 or node:sqlite, or a Store',
  )
}

/** The databases whose stores have transactions for handlers. */
export const WITH_TRANSACTIONS = 'MySQL, MariaDB or Postgres'

/** Will the store that is opened from it have transactions for handlers? */
export function hasTransactions(source: StoreSource): boolean {
  if (typeof source === 'string') return /^(mysql|mariadb|postgres|postgresql):/i.test(source)
  if (isStore(source)) return source.transactions !== undefined
  return !isSqliteDatabase(source) && (isMysqlPool(source) || isPostgresPool(source))
}

/** Does {@link openStore} know the URL's scheme? Whether the rest can be opened shows when it is. */
export function isStoreUrl(url: string): boolean {
  return openerOf(url) !== undefined
}

/**
 * A store's URL without user, password and query, for logs and errors: `mysql://localhost:3306/bot`.
 * Of a URL that cannot be read for certain, only the scheme: a password may stand anywhere in it.
 */
export function describeUrl(url: string): string {
  const scheme = schemeOf(url)
  if (scheme === undefined) return '…'
  // A file's path and `memory:` have no place for a password.
  if (scheme === 'sqlite' || scheme === 'memory') return url
  if (!URL.canParse(url)) return `${scheme}://…`
  const parsed = new URL(url)
  return isCutShort(parsed) ? `${scheme}://…` : `${scheme}://${parsed.host}${parsed.pathname}`
}

async function openUrl(url: string, settings: StoreSettings): Promise<Store> {
  const open = openerOf(url)
  const scheme = schemeOf(url)
  if (open) return open(url, settings)
  // Never the value itself: what is no known URL may be a password in the wrong variable.
  const problem = scheme === undefined ? 'the store is given as a URL' : `no store is known for "${scheme}:"`
  throw new StoreError('setup', `session-lock: ${problem}; there are ${EXAMPLES}`)
}

function openerOf(url: string): Open | undefined {
  const scheme = schemeOf(url)
  return scheme !== undefined && Object.hasOwn(SCHEMES, scheme) ? SCHEMES[scheme] : undefined
}

function schemeOf(url: string): string | undefined {
  return /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase()
}

function isStore(source: unknown): source is Store {
  return hasMethods(source, 'claim', 'renew', 'settle')
}

function isSqliteDatabase(source: unknown): source is SqliteDatabase {
  return hasMethods(source, 'prepare', 'exec')
}

function isMysqlPool(source: unknown): source is MysqlPool {
  return hasMethods(source, 'getConnection')
}

/** A single client of pg has no count: it would be one connection for everything. */
function isPostgresPool(source: unknown): source is PostgresPool {
  return hasMethods(source, 'connect', 'query') && typeof (source as PostgresPool).totalCount === 'number'
}

function isRedisClient(source: unknown): source is RedisClient {
  return hasMethods(source, 'duplicate', 'callBuffer')
}

function hasMethods(source: unknown, ...names: string[]): boolean {
  if (typeof source !== 'object' || source === null) return false
  return names.every((name) => typeof (source as Record<string, unknown>)[name] === 'function')
}
