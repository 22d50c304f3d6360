/**
 * SQLite, from either of its drivers: `better-sqlite3`, or Node's own `node:sqlite`. Both work
 * synchronously and look alike; what differs (how they are loaded, how they report errors) ends here.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { createLogSync, type LogSync } from './sqlite-sync.ts'
import { StoreError, type StoreSettings } from './store.ts'

/** A value as SQLite takes and gives it. */
export type SqliteValue = string | number | bigint | null | Uint8Array

/** A prepared statement of either driver. */
export interface SqliteStatement {
  run(...values: SqliteValue[]): { readonly changes: number | bigint }
  get(...values: SqliteValue[]): unknown
  all(...values: SqliteValue[]): unknown[]
}

/** A database of either driver: a `Database` of `better-sqlite3`, or a `DatabaseSync` of `node:sqlite`. */
export interface SqliteDatabase {
  prepare(sql: string): SqliteStatement
  exec(sql: string): unknown
  close(): unknown
}

/** A row as both drivers give it. */
export type SqliteRow = Readonly<Record<string, SqliteValue>>

/** One open database, as the store uses it. */
export interface SqliteConnection {
  /** true: the database is in memory, and no other process sees it. */
  readonly inMemory: boolean
  /**
   * Runs a statement that changes something, and says how many rows it changed. Only inside `read`
   * or `write`, like `get` and `all`. Statements stay prepared: their text must not hold values.
   */
  run(sql: string, ...values: SqliteValue[]): number
  get(sql: string, ...values: SqliteValue[]): SqliteRow | undefined
  all(sql: string, ...values: SqliteValue[]): SqliteRow[]
  /** Runs the statements of a migration. */
  exec(sql: string): void
  /** Does some reading, again while the file is busy. Rejects with a {@link StoreError}. */
  read<Value>(work: () => Value): Promise<Value>
  /**
   * Does some writing in one transaction, all of it again while the file is busy, and waits until it is on disk. The
   * work is synchronous, so that no transaction is ever open while the event loop turns.
   * Rejects with a {@link StoreError}; then nothing was written, unless it says `answerLost`.
   */
  write<Value>(work: () => Value): Promise<Value>
  /** The same for what may be undone by a power failure: the disk is not waited for. */
  writeLoosely<Value>(work: () => Value): Promise<Value>
  close(): void
}

/** How long to wait before the next try on a busy file: from 1 ms, up to this. */
const MAX_RETRY_DELAY_MS = 8

/** Opens a file (or `:memory:`) with the driver there is, or takes the user's own database. Rejects with a {@link StoreError}. */
export async function connectSqlite(
  source: string | SqliteDatabase,
  settings: StoreSettings,
): Promise<SqliteConnection> {
  if (typeof source !== 'string') return connectionOver(source, settings, false)
  const open = await loadDriver()
  let database: SqliteDatabase
  try {
    database = open(source)
  } catch (cause) {
    throw cannotOpen(source, cause)
  }
  const connection = connectionOver(database, settings, true)
  try {
    // Readers and one writer at a time, instead of either; many processes may want to switch at once. To ask for the
    // version of the schema is to read the file, whatever it is.
    const sql = settings.asItIs ? 'PRAGMA schema_version' : 'PRAGMA journal_mode = WAL'
    await connection.read(() => connection.get(sql))
    return connection
  } catch (cause) {
    connection.close()
    throw cause instanceof StoreError && cause.kind === 'unreachable' && isBusy(cause.cause)
      ? cause
      : cannotOpen(source, cause instanceof StoreError ? cause.cause : cause)
  }
}

function connectionOver(database: SqliteDatabase, settings: StoreSettings, isOurs: boolean): SqliteConnection {
  const statements = new Map<string, SqliteStatement>()
  let log: LogSync | null | undefined
  let isClosed = false

  function prepared(sql: string): SqliteStatement {
    let statement = statements.get(sql)
    if (!statement) {
      statement = database.prepare(sql)
      statements.set(sql, statement)
    }
    return statement
  }

  /** SQLite waits for a busy file in C, where the event loop stands still; so it must not wait at all. */
  function withoutWaiting<Value>(work: () => Value): Value {
    const theirs = isOurs ? 0 : busyTimeoutOf(database)
    if (theirs === 0) return work()
    database.exec('PRAGMA busy_timeout = 0')
    try {
      return work()
    } finally {
      database.exec(`PRAGMA busy_timeout = ${theirs}`)
    }
  }

  /**
   * Of our own file the log is synced by us; where there is none (it cannot be on this disk), SQLite waits by itself.
   * null: nothing is to be waited for.
   */
  function findLog(): LogSync | null {
    const file = isOurs ? fileOf(database) : ''
    const { journal_mode: mode } = database.prepare('PRAGMA journal_mode').get() as SqliteRow
    const found = file !== '' && mode === 'wal' ? createLogSync(`${file}-wal`) : null
    if (file !== '') database.exec(`PRAGMA synchronous = ${found ? 'NORMAL' : 'FULL'}`)
    return found
  }

  async function write<Value>(work: () => Value): Promise<Value> {
    if (log === undefined) log = await untilNotBusy(findLog)
    const value = await untilNotBusy(() => inTransaction(database, work))
    try {
      await log?.wait()
    } catch (cause) {
      const text = `session-lock: SQLite: its write-ahead log cannot be brought to disk (${(cause as Error).message})`
      throw new StoreError('unreachable', text, { cause, answerLost: true })
    }
    return value
  }

  async function untilNotBusy<Value>(work: () => Value): Promise<Value> {
    const giveUpAt = performance.now() + settings.timeoutMs
    for (let tries = 1; ; tries++) {
      if (isClosed) throw new StoreError('unreachable', 'session-lock: the SQLite store is closed')
      try {
        return withoutWaiting(work)
      } catch (error) {
        if (!isBusy(error) || performance.now() >= giveUpAt) throw toStoreError(error)
      }
      await delay(1 + Math.random() * Math.min(tries, MAX_RETRY_DELAY_MS))
    }
  }

  return {
    inMemory: fileOf(database) === '',
    run: (sql, ...values) => Number(prepared(sql).run(...values).changes),
    get: (sql, ...values) => prepared(sql).get(...values) as SqliteRow | undefined,
    all: (sql, ...values) => prepared(sql).all(...values) as SqliteRow[],
    exec: (sql) => void database.exec(sql),
    read: (work) => untilNotBusy(work),
    write,
    writeLoosely: (work) => untilNotBusy(() => inTransaction(database, work)),
    close() {
      if (isClosed) return
      isClosed = true
      statements.clear()
      log?.close()
      if (isOurs) database.close()
    },
  }
}

/** Empty for a database in memory. */
function fileOf(database: SqliteDatabase): string {
  const databases = database.prepare('PRAGMA database_list').all() as SqliteRow[]
  return String(databases.find((row) => row['name'] === 'main')?.['file'] ?? '')
}

/** Prepared anew each time: SQLite reads this value when it compiles the statement, not when it runs it. */
function busyTimeoutOf(database: SqliteDatabase): number {
  return Number((database.prepare('PRAGMA busy_timeout').get() as SqliteRow)['timeout'])
}

function inTransaction<Value>(database: SqliteDatabase, work: () => Value): Value {
  // IMMEDIATE: the write lock now, or not at all. Taken later, it could not be had without starting over.
  database.exec('BEGIN IMMEDIATE')
  let isCommitting = false
  try {
    const value = work()
    isCommitting = true
    database.exec('COMMIT')
    return value
  } catch (error) {
    rollBack(database)
    if (isCommitting && resultOf(error) === 'IOERR') throw toStoreError(error, true)
    throw error
  }
}

function rollBack(database: SqliteDatabase): void {
  try {
    database.exec('ROLLBACK')
  } catch {
    // After a full disk or a failed write SQLite has rolled back by itself.
  }
}

type OpenDatabase = (path: string) => SqliteDatabase

async function loadDriver(): Promise<OpenDatabase> {
  let failure: unknown
  try {
    const { default: Database } = await import('better-sqlite3')
    const open: OpenDatabase = (path) => new Database(path, { timeout: 0 }) as SqliteDatabase
    // Its compiled part is loaded only now, and may be missing or made for another Node.
    open(':memory:').close()
    return open
  } catch (error) {
    failure = error
  }
  const builtIn = process.getBuiltinModule?.('node:sqlite') as
    | { DatabaseSync: new (path: string) => SqliteDatabase }
    | undefined
  if (builtIn) return (path) => new builtIn.DatabaseSync(path)
  const { code, message } = failure as Error & { code?: string }
  const text =
    code === 'ERR_MODULE_NOT_FOUND'
      ? 'SQLite needs a driver. Run: npm install better-sqlite3'
      : `better-sqlite3 is installed but cannot be loaded (${message}). Run: npm rebuild better-sqlite3`
  throw new StoreError('setup', `session-lock: ${text} (or use Node 22.13 or later, which has a driver built in)`, {
    cause: failure,
  })
}

/** SQLite's result codes that are told apart here. */
const RESULT_NAMES: Readonly<Record<number, string>> = {
  5: 'BUSY',
  6: 'LOCKED',
  7: 'NOMEM',
  8: 'READONLY',
  10: 'IOERR',
  11: 'CORRUPT',
  13: 'FULL',
  14: 'CANTOPEN',
  15: 'PROTOCOL',
  18: 'TOOBIG',
  19: 'CONSTRAINT',
  20: 'MISMATCH',
  26: 'NOTADB',
}

/** `BUSY` for `SQLITE_BUSY_SNAPSHOT`, and so on; undefined where the error is not SQLite's. */
function resultOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  const { code, errcode } = error as Error & { code?: unknown; errcode?: unknown }
  // The built-in driver gives the extended code as a number; its low byte is the plain one.
  if (typeof errcode === 'number') return RESULT_NAMES[errcode & 0xff] ?? 'ERROR'
  return typeof code === 'string' ? /^SQLITE_([A-Z]+)/.exec(code)?.[1] : undefined
}

function isBusy(error: unknown): boolean {
  const result = resultOf(error)
  if (result === 'BUSY' || result === 'LOCKED' || result === 'PROTOCOL') return true
  // The user's own database, while the user's code has a transaction open across an `await`.
  return error instanceof Error && /within a transaction/.test(error.message)
}

const UNREACHABLE_TEXTS: Readonly<Record<string, string>> = {
  FULL: 'the disk is full, or the database has reached its largest allowed size: make room',
  IOERR: 'reading or writing the file failed: look at the disk and the system log',
  READONLY: 'the file may not be written: give this user the right to write it and its directory',
  CANTOPEN:
    'the file or its -wal and -shm files cannot be opened: look whether the directory is still there and writable',
  NOMEM: 'SQLite got no memory',
}

const SETUP_TEXTS: Readonly<Record<string, string>> = {
  CORRUPT: 'the file is damaged: restore it from a backup, or delete it and start anew',
  NOTADB: 'the file is not an SQLite database: choose another path',
}

function toStoreError(cause: unknown, answerLost = false): StoreError {
  if (cause instanceof StoreError) return cause
  const result = resultOf(cause)
  const message = cause instanceof Error ? cause.message : String(cause)
  const fail = (kind: StoreError['kind'], text: string) =>
    new StoreError(kind, `session-lock: SQLite: ${text} (${message})`, { cause, answerLost })
  if (isBusy(cause)) {
    return fail('unreachable', 'another process or transaction holds the file for too long: look for what has it open')
  }
  const unreachable = UNREACHABLE_TEXTS[result ?? '']
  if (unreachable) return fail('unreachable', unreachable)
  const setup = SETUP_TEXTS[result ?? '']
  if (setup) return fail('setup', setup)
  if (/no such (table|column)|has no column/.test(message)) {
    return fail(
      'setup',
      "the tables are missing or of another version: call lock.migrate() or set the option migrate: 'auto'",
    )
  }
  return fail('data', 'it refuses the contents of an operation')
}

function cannotOpen(path: string, cause: unknown): StoreError {
  const message = cause instanceof Error ? cause.message : String(cause)
  return new StoreError(
    'setup',
    `session-lock: cannot open the SQLite file ${path} (${message}). Its directory must exist, ` +
      'and this user must be allowed to write both; an existing file must be an SQLite database.',
    { cause },
  )
}
