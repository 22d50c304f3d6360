/** The DuckDB file as all programs share it: opened under its lease only. Copy this one, and `duckdb-file.mjs`. */
import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ClosedError, createSessionLock, LeaseLostError, StoreError } from 'session-lock'
import { firstLineOf, isFileLockError, openFile, workIn } from './duckdb-file.mjs'

/** So often, and so far apart, is a file tried that a program has open which knows nothing of leases. */
const OPENING_TRIES = 10
const OPENING_AGAIN_AFTER_MS = 200
const COME_AGAIN_AFTER_MS = 2000

/** The session that the file's lease is held under. */
export const sessionOf = (path) => `duckdb:${basename(path)}`

/** The SQLite file that leases are kept in, beside the DuckDB file: whoever finds the one finds the other. */
export const leaseFileOf = (path) => `${path}.leases`

/**
 * @param path - of the DuckDB file, the same in all programs
 * @param name - of this program: its node id is the name and the process id, so that people find the process
 */
export function createDatabase({ path, name, staleAfterMs, lockWaitMs, lockTries }) {
  const lock = createSessionLock({
    store: `sqlite:${leaseFileOf(path)}`,
    nodeId: `${name}-${process.pid}`,
    staleAfterMs,
    closeTimeoutMs: 30_000,
    logger: false,
  })
  const session = sessionOf(path)

  lock.on('takeover', ({ fromNodeId, ageMs }) => {
    console.log(`took over the lease of ${fromNodeId}, which was silent for ${(ageMs / 1000).toFixed(1)} s`)
  })

  /**
   * Runs `work` in a transaction of the file, while nobody else has it open. Resolves to what it returns.
   *
   * @throws an error with `retryAfterMs` where it can be tried again as it was: nothing is known to be written.
   */
  async function use(work) {
    try {
      for (let tries = 1; tries <= lockTries; tries++) {
        const result = await lock.run({ session }, (lease) => openAndWork(work, lease.signal), { lockWaitMs })
        if (result.status === 'processed') return result.value
      }
    } catch (error) {
      const passes = [ClosedError, LeaseLostError, StoreError].some((kind) => error instanceof kind)
      throw passes || isFileLockError(error) ? comeAgain(firstLineOf(error), error) : error
    }
    throw comeAgain(`${basename(path)} is busy: others have its lease; doctor.mjs says who`)
  }

  /** All of it inside the lease: when that is released, the lock on the file has gone before. */
  async function openAndWork(work, signal) {
    const instance = await openPatiently(signal)
    try {
      return await workIn(instance, work, signal)
    } finally {
      instance.closeSync()
    }
  }

  /** Nobody with the lease has it open. A program outside may: the DuckDB command line, a backup. */
  async function openPatiently(signal) {
    for (let tries = 1; ; tries++) {
      signal.throwIfAborted()
      try {
        return await openFile(path)
      } catch (error) {
        if (!isFileLockError(error)) throw error
        console.log(`opening failed: ${firstLineOf(error)}`)
        if (tries === OPENING_TRIES) throw error
      }
      await sleep(OPENING_AGAIN_AFTER_MS)
    }
  }

  /** Work in hand is done to its end, for up to 30 s; who still waits for the lease is told to come again. */
  return { use, close: () => lock.close() }
}

function comeAgain(text, cause) {
  return Object.assign(new Error(text, { cause }), { retryAfterMs: COME_AGAIN_AFTER_MS })
}
