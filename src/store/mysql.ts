/** The store on MySQL 8.0.20+ and MariaDB 10.6+, by URL or in the user's own mysql2 pool. */

import { connectWithinMs } from './limit.ts'
import { readMigrations, requireApplied, requireTablePrefix } from './migrate.ts'
import { claimAtOnce, settleAtOnce } from './mysql-at-once.ts'
import { mysqlCleanUp } from './mysql-cleanup.ts'
import { createLink, type Query } from './mysql-connection.ts'
import { examine } from './mysql-examine.ts'
import { countRows, listMessages, listSessions, look } from './mysql-inspect.ts'
import { appliedVersions, applyMigrations } from './mysql-migrate.ts'
import { mysqlQueue } from './mysql-queue.ts'
import { releaseBatch, renewBatch } from './mysql-settle.ts'
import { handlersSource, type MysqlPool, poolSource, type Source, urlSource } from './mysql-source.ts'
import { tableNames } from './mysql-statements.ts'
import { mysqlTransactions, sourceBeside } from './mysql-transactions.ts'
import type { Store, StoreSettings } from './store.ts'

export type { MysqlCallbackPool, MysqlConnection, MysqlPool, MysqlPromisePool } from './mysql-source.ts'

/**
 * Opens the store. It connects when it is first asked something, and again after a loss.
 *
 * It uses two connections, whatever the load: one for claims and looks inside, one for renewals,
 * settlements, forced releases and clean-up, so that leases live while claims hang. From a pool it takes
 * these two for as long as it is open, sets its own time zone, SQL mode and limits on them, and
 * destroys them in the end: the pool's next borrower gets none of that. Handlers' transactions have connections
 * of their own, with the driver's defaults, or with the pool's settings.
 *
 * @param source `mysql://user:password@host:3306/database` (or `mariadb://…`), or a pool of mysql2, of
 * either flavour, which stays the caller's to end.
 * @throws StoreError of kind `setup` for a wrong URL, an unusable table prefix or a missing driver;
 * not where the database is only down.
 * @example
 * const store = await mysqlStore('mysql://bot:secret@localhost/bot', {
 *   tablePrefix: 'session_lock_',
 *   timeoutMs: 5000,
 * })
 */
export async function mysqlStore(source: string | MysqlPool, settings: StoreSettings): Promise<Store> {
  requireTablePrefix(settings.tablePrefix)
  if (typeof source === 'string') return storeOn(await urlSource(source), await handlersSource(source), settings)
  const own = poolSource(source)
  return storeOn(own, sourceBeside(source, own), settings)
}

function storeOn(source: Source, handlers: Source, { tablePrefix, timeoutMs }: StoreSettings): Store {
  const names = tableNames(tablePrefix)
  const migrations = () => readMigrations('mysql', tablePrefix)
  const limits = { callMs: timeoutMs, connectMs: connectWithinMs(timeoutMs), statementMs: timeoutMs }
  const asking = createLink(source, limits)
  const holding = createLink(source, limits)
  const cleanUp = mysqlCleanUp(names)
  const transactions = mysqlTransactions(handlers, names, limits)
  const askFor = <Value>(work: (query: Query) => Promise<Value>) => asking.transaction(work)
  const holdBy = <Value>(work: (query: Query) => Promise<Value>) => holding.transaction(work)
  return {
    name: source.name,
    singleProcess: false,
    migrate: async () => applyMigrations(source, names, await migrations(), limits.connectMs),
    async checkSchema() {
      requireApplied('mysql', await migrations(), await askFor((query) => appliedVersions(query, names)))
    },
    claim: (claims) => asking.use((session) => claimAtOnce(session, names, claims)),
    look: (messages) => askFor((query) => look(query, names, messages)),
    renew: (renewals) => holdBy((query) => renewBatch(query, names, renewals)),
    settle: (settlements) => holding.use((session) => settleAtOnce(session, names, settlements)),
    release: (rowKeys, how = {}) => holdBy((query) => releaseBatch(query, names, rowKeys, how)),
    sessions: (filter) => askFor((query) => listSessions(query, names, filter)),
    messages: (filter) => askFor((query) => listMessages(query, names, filter)),
    stats: () => askFor((query) => countRows(query, names)),
    cleanup: (options) => holdBy((query) => cleanUp(query, options)),
    examine: async () => examine(askFor, await migrations()),
    queue: mysqlQueue(names, askFor, holdBy),
    transactions,
    async close() {
      await Promise.all([asking.close(), holding.close(), transactions.close()])
    },
  }
}
