/** Which processes have a file open. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename } from 'node:path'
import { holderNamedIn, isFileLockError, openToRead } from './duckdb-file.mjs'

/**
 * @param path - of the DuckDB file, as `realpath` has it
 * @returns `{ pid, command }` of each process
 */
export async function holdersOf(path) {
  const { pids, isComplete } = lookThroughProcesses(path)
  const named = pids.length > 0 || isComplete ? pids : await askDuckdb(path)
  return named.map((pid) => ({ pid, command: commandOf(pid) }))
}

/** By /proc, which only Linux has; other users' processes show what they have open to root alone. Disturbs nobody. */
function lookThroughProcesses(path) {
  const pids = []
  let isComplete = true
  for (const pid of numbersIn('/proc') ?? []) {
    const descriptors = numbersIn(`/proc/${pid}/fd`)
    if (!descriptors) isComplete = false
    else if (descriptors.some((descriptor) => linkOf(`/proc/${pid}/fd/${descriptor}`) === path)) pids.push(pid)
  }
  return { pids, isComplete: isComplete && process.platform === 'linux' }
}

/**
 * By opening the file to read: DuckDB's refusal names who writes it (not who only reads it). Where nobody does, it is
 * open here for a moment, and whoever opens it in that moment has to try again.
 */
async function askDuckdb(path) {
  try {
    const instance = await openToRead(path)
    instance.closeSync()
    return []
  } catch (error) {
    const pid = isFileLockError(error) ? holderNamedIn(error.message) : undefined
    if (pid === undefined) throw error
    return [pid]
  }
}

function numbersIn(directory) {
  try {
    return readdirSync(directory)
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
  } catch (error) {
    // A process that has just ended has nothing open.
    return error.code === 'ENOENT' || error.code === 'ESRCH' ? [] : undefined
  }
}

function linkOf(path) {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

/** The program and its first argument, as people know them: `node web.mjs`. */
function commandOf(pid) {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0', 2).filter(Boolean)
    return words.map((word) => basename(word)).join(' ') || 'unnamed'
  } catch {
    return 'its command line cannot be read'
  }
}
