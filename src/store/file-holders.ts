/** Who has a file open: for databases that are files, and let one process in at a time. */
import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'
import { type Finding, ok, warning } from './examine.ts'

/** Tells it of a file beside the store, an app's own: one of DuckDB, for instance. */
export function examineOpenFile(path: string): Finding {
  try {
    return ok('open file', `${path}: ${sentenceOf(holdersOf(path))}`)
  } catch {
    return warning('open file', `${path} is not there, or may not be looked at`, 'Name a file that is there by --file')
  }
}

export function sentenceOf(holders: readonly string[] | undefined): string {
  if (holders === undefined) return 'who has it open cannot be told on this system'
  return holders.length === 0 ? 'no other process has it open' : `it is open in ${holders.join(', ')}`
}

/** By /proc, which only Linux has, and which shows other users' processes to root alone. Throws where there is no file. */
export function holdersOf(path: string): string[] | undefined {
  const file = realpathSync(path)
  let processes: string[]
  try {
    processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
  } catch {
    return undefined
  }
  return processes.filter((id) => hasOpen(id, file)).map((id) => `process ${id} (${commandOf(id)})`)
}

function hasOpen(id: string, file: string): boolean {
  try {
    return readdirSync(`/proc/${id}/fd`).some((descriptor) => linkOf(`/proc/${id}/fd/${descriptor}`) === file)
  } catch {
    return false
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

function commandOf(id: string): string {
  try {
    return readFileSync(`/proc/${id}/cmdline`, 'utf8').split('\0').join(' ').trim().slice(0, 80)
  } catch {
    return 'ended'
  }
}
