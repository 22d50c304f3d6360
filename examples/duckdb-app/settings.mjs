/** What the programs are told by environment variables. */
import { existsSync, realpathSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

/**
 * What every program here has to know; ends the process where it is missing.
 *
 * @param lockTries - how often `LOCK_WAIT_MS` is waited for the lease, unless `LOCK_TRIES` is set
 */
export function readSettings(lockTries = 3) {
  return {
    path: realPathOf(textFrom('DUCKDB_FILE', 'the path of the DuckDB file, for instance ./app.duckdb')),
    staleAfterMs: numberFrom('STALE_AFTER_MS', 30_000),
    lockWaitMs: numberFrom('LOCK_WAIT_MS', 2000),
    lockTries: numberFrom('LOCK_TRIES', lockTries),
  }
}

export function textFrom(name, meaning) {
  return process.env[name] || give(`${name} is not set: give ${meaning}`)
}

export function numberFrom(name, otherwise) {
  const text = process.env[name] || String(otherwise)
  return /^\d+$/.test(text) ? Number(text) : give(`${name} is "${text}": give a whole number`)
}

/** The leases stand beside the file, so one file must have one name, whatever path leads to it. */
function realPathOf(path) {
  if (existsSync(path)) return realpathSync(path)
  if (existsSync(dirname(path))) return join(realpathSync(dirname(path)), basename(path))
  return give(`DUCKDB_FILE is in ${dirname(path)}, which does not exist: make that directory, or give another path`)
}

function give(problem) {
  console.error(problem)
  process.exit(1)
}
