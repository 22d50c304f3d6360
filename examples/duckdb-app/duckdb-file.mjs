/** A DuckDB file: opening it, working in it, closing it so that it really is closed. */
import { DuckDBInstance } from '@duckdb/node-api'

const INTERRUPT_EVERY_MS = 20

/**
 * Opens the file. Throws where another process has it open, see {@link isFileLockError}.
 *
 * Two things to keep away from in a process that has it open, since neither is refused, and both lose data:
 * - opening it a second time: each instance writes the file as if it were alone;
 * - reading it by other means (a copy, a download): closing any handle to a file drops all locks that the
 *   process has on it. That is how POSIX has it.
 */
export function openFile(path) {
  return DuckDBInstance.create(path)
}

/** Changes nothing, not even what a crash has left to be done. Throws where another process writes the file. */
export function openToRead(path) {
  return DuckDBInstance.create(path, { access_mode: 'READ_ONLY' })
}

/**
 * Runs `work` in one transaction: committed when it has returned, rolled back when it throws or the signal aborts.
 *
 * @param work - given `query(sql, values)`, which resolves to the rows as plain objects, and the signal. It does not
 *   get the connection: a stream of rows that nobody has read to its end keeps the file open after all is closed.
 */
export async function workIn(instance, work, signal) {
  const connection = await instance.connect()
  const running = new Set()
  let isOver = false
  let interrupting
  // Again and again: what comes before a statement has really begun is forgotten.
  const interrupt = () => {
    interrupting = setInterval(() => connection.interrupt(), INTERRUPT_EVERY_MS)
  }
  signal?.addEventListener('abort', interrupt)

  async function run(sql, values) {
    signal?.throwIfAborted()
    const statement = connection.runAndReadAll(sql, values)
    running.add(statement)
    try {
      return (await statement).getRowObjectsJson()
    } finally {
      running.delete(statement)
    }
  }

  async function query(sql, values) {
    if (isOver) throw new Error('The transaction is over: wait for each query before the work returns.')
    return run(sql, values)
  }

  try {
    await run('BEGIN')
    const value = await work({ query, signal })
    isOver = true
    await Promise.all(running)
    await run('COMMIT')
    return value
  } catch (error) {
    // Rather why it was interrupted than that it was.
    throw signal?.aborted ? signal.reason : error
  } finally {
    isOver = true
    signal?.removeEventListener('abort', interrupt)
    // A connection that is closed in the middle of a statement takes the whole process with it.
    await Promise.allSettled(running)
    clearInterval(interrupting)
    connection.closeSync()
  }
}

/** Has another process the file open? */
export function isFileLockError(error) {
  return /Could not set lock on file|being used by another process/.test(error?.message)
}

/** The process that DuckDB's own text names: "Conflicting lock is held in /usr/bin/node (PID 1234)". */
export function holderNamedIn(text) {
  const [, pid] = /\(PID (\d+)\)/.exec(text) ?? []
  return pid === undefined ? undefined : Number(pid)
}

/** An error in one line. */
export function firstLineOf(error) {
  return String(error?.message ?? error).split('\n')[0]
}
