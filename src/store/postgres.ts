/** The store on Postgres 12+, by URL or in the user's own pool of pg. */

import { connectWithinMs } from './limit.ts'
import { readMigrations, requireApplied, requireTablePrefix } from './migrate.ts'
import { claimBatch } from './postgres-claim.ts'
import { postgresCleanUp } from './postgres-cleanup.ts'
import { createLink, type PostgresPool, poolSource, type Query, type Source, urlSource } from './postgres-connection.ts'
import { examine } from './postgres-examine.ts'
import { countRows, listMessages, listSessions, look } from './postgres-inspect.ts'
import { type Listener, listenForReleases } from './postgres-listen.ts'
import { appliedVersions, migrateTables } from './postgres-migrate.ts'
import { postgresQueue } from './postgres-queue.ts'
import { releaseBatch, renewBatch, settleBatch } from './postgres-settle.ts'
import { postgresTransactions, sourceBeside } from './postgres-transactions.ts'
import { namesUnder } from './postgres-values.ts'
import type { Store, StoreSettings } from './store.ts'

export type { PostgresClient, PostgresPool, PostgresPoolClient } from './postgres-connection.ts'

/**
 * Opens the store. It connects when it is first asked something, and again after a loss.
 *
 * It uses two connections, whatever the load: one for claims and looks inside, one for renewals,
 * settlements, forced releases and clean-up, so that leases live while claims hang; a third one once it is told
 * to listen, and a fourth one where an inbox works, so that what is received does not wait for what is taken. A batch
 * is one round trip. Nothing is set on the connections, so that a pooler in transaction mode serves; through one,
 * listening tells nothing, and who waits asks again. Handlers' transactions have connections of their own, with the
 * driver's defaults, or with the pool's settings.
 *
 * @param source `postgres://user:password@host:5432/database` (or `postgresql://…`), or a pool of pg,
 * which stays the caller's to end.
 * @throws StoreError of kind `setup` for a wrong URL, an unusable table prefix or a missing driver;
 * not where the database is only down.
 * @example
 * const store = await postgresStore('postgres://bot:secret@localhost/bot', {
 *   tablePrefix: 'session_lock_',
 *   timeoutMs: 5000,
 * })
 */
export async function postgresStore(source: string | PostgresPool, settings: StoreSettings): Promise<Store> {
  requireTablePrefix(settings.tablePrefix)
  if (typeof source === 'string') {
    const own = await urlSource(source)
    return storeOn(own, own, settings)
  }
  const own = poolSource(source)
  return storeOn(own, sourceBeside(source, own), settings)
}

function storeOn(source: Source, handlers: Source, { tablePrefix, timeoutMs }: StoreSettings): Store {
  const names = namesUnder(tablePrefix)
  const limits = { callMs: timeoutMs, connectMs: connectWithinMs(timeoutMs) }
  // The database gives up a little before the caller does, so that the caller learns why.
  const lockWaitMs = Math.max(1, Math.floor(timeoutMs * 0.8))
  const asking = createLink(source, limits)
  const holding = createLink(source, limits)
  const askFor = <Value>(work: (query: Query) => Promise<Value>) => asking.call(work)
  const holdBy = <Value>(work: (query: Query) => Promise<Value>) => holding.call(work)
  const working = createLink(source, limits)
  const cleanUp = postgresCleanUp(names)
  const transactions = postgresTransactions(handlers, names, limits, lockWaitMs)
  let listener: Listener | undefined
  return {
    name: source.name,
    singleProcess: false,
    migrate: () => migrateTables(source, tablePrefix, limits.connectMs),
    async checkSchema() {
      const migrations = await readMigrations('postgres', tablePrefix)
      requireApplied('postgres', migrations, await askFor((query) => appliedVersions(query, names)))
    },
    claim: (claims) => askFor((query) => claimBatch(query, names, lockWaitMs, claims)),
    look: (messages) => askFor((query) => look(query, names, messages)),
    renew: (renewals) => holdBy((query) => renewBatch(query, names, lockWaitMs, renewals)),
    settle: (settlements) => holdBy((query) => settleBatch(query, names, lockWaitMs, settlements)),
    release: (rowKeys, how = {}) => holdBy((query) => releaseBatch(query, names, lockWaitMs, rowKeys, how)),
    sessions: (filter) => askFor((query) => listSessions(query, names, filter)),
    messages: (filter) => askFor((query) => listMessages(query, names, filter)),
    stats: () => askFor((query) => countRows(query, names)),
    cleanup: (options) => holdBy((query) => cleanUp(query, options)),
    examine: async () => {
      const migrations = await readMigrations('postgres', tablePrefix)
      return examine((sql, values = []) => askFor((query) => query({ sql, values })), migrations)
    },
    listen(released) {
      listener ??= listenForReleases(source, tablePrefix, limits.connectMs, released)
    },
    queue: postgresQueue({ receiving: asking, working }, names, lockWaitMs),
    transactions,
    async close() {
      await Promise.all([listener?.close(), asking.close(), holding.close(), working.close(), transactions.close()])
    },
  }
}
