/**
 * The store in an SQLite file: one file, several processes of one machine.
 *
 * Its clock is `Date.now()`, read once the write lock is had: all who write the file are on the
 * machine it lies on, so they share that clock.
 */
import { claimAll, type Moment, releaseRow, renewRows, settleRows } from './local.ts'
import { type Migration, pending, readMigrations, requireApplied, requireTablePrefix } from './migrate.ts'
import { toMessageRow, toSessionRow } from './rows.ts'
import { sqliteCleanUp } from './sqlite-cleanup.ts'
import { connectSqlite, type SqliteConnection, type SqliteDatabase } from './sqlite-driver.ts'
import { examine } from './sqlite-examine.ts'
import { type SqliteQueue, sqliteQueue } from './sqlite-queue.ts'
import { readingOnce, type SqliteTables, sqliteTables } from './sqlite-tables.ts'
import { type Store, StoreError, type StoreSettings } from './store.ts'

/**
 * Opens a store in an SQLite file.
 *
 * @param source - `sqlite:./bot.db`, `sqlite::memory:`, a path, or the user's own database
 *   (`better-sqlite3` or `node:sqlite`), of which no setting is changed and which is not closed.
 * @throws {@link StoreError} of kind `setup`: no driver is installed, or there is no file that can be opened.
 *
 * @example
 * const store = await sqliteStore('sqlite:./bot.db', { tablePrefix: 'session_lock_', timeoutMs: 5000 })
 */
export async function sqliteStore(source: string | SqliteDatabase, settings: StoreSettings): Promise<Store> {
  requireTablePrefix(settings.tablePrefix)
  const path = typeof source === 'string' ? pathOf(source) : source
  const connection = await connectSqlite(path, settings)
  const queue: SqliteQueue = sqliteQueue(connection, () => tables, settings.tablePrefix)
  const tables: SqliteTables = {
    ...sqliteTables(connection, settings.tablePrefix),
    hasBacklog: queue.hasBacklog,
    stepQueue: queue.step,
  }

  /**
   * Claims may give tokens; the largest is written back with them. The disk is not waited for: a power failure that
   * forgets a lease has ended its holder too, since all who write the file are on this machine.
   */
  function withTokens<Value>(work: (moment: Moment) => Value): Promise<Value> {
    return connection.writeLoosely(() => {
      const largest = tables.largestToken()
      const moment = { now: Date.now(), largestToken: largest }
      const value = work(moment)
      if (moment.largestToken > largest) tables.putLargestToken(moment.largestToken)
      return value
    })
  }
  const cleanUp = sqliteCleanUp(settings.tablePrefix)
  const write = <Value>(work: (now: number) => Value) => connection.write(() => work(Date.now()))
  const read = <Value>(work: (now: number) => Value) => connection.read(() => work(Date.now()))

  return {
    name: typeof source === 'string' ? `sqlite:${path}` : 'sqlite: (a database that was handed over)',
    singleProcess: connection.inMemory,
    inThread: true,
    migrate: () => migrate(connection, tables, settings.tablePrefix),
    async checkSchema() {
      const migrations = await readMigrations('sqlite', settings.tablePrefix)
      requireApplied('sqlite', migrations, await connection.read(() => tables.appliedVersions()))
    },
    claim: (claims) => withTokens((moment) => claimAll(readingOnce(tables), claims, moment)),
    look: (messages) => read((now) => messages.flatMap(({ key }) => tables.completed(key, now) ?? [])),
    renew: (renewals) =>
      connection.writeLoosely(() => renewals.map((renewal) => renewRows(tables, renewal, Date.now()))),
    settle: (settlements) => {
      const settle = () => settlements.map((settlement) => settleRows(tables, settlement, Date.now()))
      const isOfLeasesOnly = settlements.every(({ messages, step }) => messages.length === 0 && !step)
      return isOfLeasesOnly ? connection.writeLoosely(settle) : connection.write(settle)
    },
    release: (rowKeys, how = {}) => write((now) => rowKeys.flatMap((key) => releaseRow(tables, key, how, now) ?? [])),
    sessions: (filter) => read((now) => tables.listSessions(filter, now).map((row) => toSessionRow(row, now))),
    messages: (filter) => read(() => tables.listMessages(filter).map(toMessageRow)),
    stats: () => read((now) => tables.count(now)),
    cleanup: (options) => cleanUp(connection, options),
    ...(typeof path === 'string' &&
      !connection.inMemory && {
        examine: async () => examine(connection, path, await readMigrations('sqlite', settings.tablePrefix)),
      }),
    queue: {
      enqueue: (arrivals) => write((now) => arrivals.map((arrival) => queue.enqueue(arrival, now))),
      take: (wanted) => withTokens((moment) => queue.take(wanted, moment)),
      haveMore: (rowKeys) => read(() => queue.haveMore(rowKeys)),
      requeue: (messages, from) => write((now) => queue.requeue(messages, from, now)),
      discard: (keys, retentionMs) => write((now) => queue.discard(keys, retentionMs, now)),
      depth: () => read((now) => queue.depth(now)),
      position: (source) => read(() => queue.position(source)),
      enqueueFrom: (source, from, to, arrival) =>
        write((now) => {
          if (queue.position(source) !== from) return null
          queue.movePosition(source, to)
          return queue.enqueue(arrival, now)
        }),
    },
    close: async () => connection.close(),
  }
}

/** `sqlite:./bot.db`, `sqlite:///var/bot.db` and `./bot.db` alike. */
function pathOf(source: string): string {
  const path = source.replace(/^sqlite:(\/\/)?/i, '')
  // SQLite takes it for a file of its own that goes when it is closed.
  if (path === '') throw new StoreError('setup', 'session-lock: the URL names no file; it must be like sqlite:./bot.db')
  return path
}

async function migrate(connection: SqliteConnection, tables: SqliteTables, tablePrefix: string): Promise<string[]> {
  const migrations = await readMigrations('sqlite', tablePrefix)
  const missing = () => pending(migrations, tables.appliedVersions())
  // Mostly there is nothing to do, and finding that out takes no lock.
  if ((await connection.read(missing)).length === 0) return []
  return connection.write(() => missing().map((migration) => apply(connection, migration)))
}

function apply(connection: SqliteConnection, migration: Migration): string {
  for (const statement of migration.statements) connection.exec(statement)
  return migration.name
}
