/** What an SQLite file is like, and who else has it open. */
import { accessSync, constants } from 'node:fs'
import { dirname } from 'node:path'
import { examineIndexes, type Finding, fault, ok, warning } from './examine.ts'
import { holdersOf, sentenceOf } from './file-holders.ts'
import type { Migration } from './migrate.ts'
import type { SqliteConnection } from './sqlite-driver.ts'
import { reasonOf } from './store.ts'

export async function examine(
  connection: SqliteConnection,
  path: string,
  migrations: readonly Migration[],
): Promise<Finding[]> {
  const read = (sql: string) => connection.read(() => connection.all(sql))
  const [version] = await read('SELECT sqlite_version() AS version')
  const [mode] = await read('PRAGMA journal_mode')
  const names = await read(`SELECT name FROM sqlite_master WHERE type IN ('table', 'index')`)
  const found = new Set(names.map(({ name }) => String(name)))
  return [
    ok('server', `SQLite ${version?.['version']}, ${path}`),
    examineJournal(String(mode?.['journal_mode'])),
    ...(await examineFile(connection, path)),
    examineIndexes(indexesIn(migrations, found), found),
  ]
}

function examineJournal(mode: string): Finding {
  if (mode === 'wal') return ok('journal', 'write-ahead log')
  return warning(
    'journal',
    `journal_mode is ${mode}: readers and the writer wait for each other`,
    'Run PRAGMA journal_mode = WAL, on a disk of this machine: it does not work over a network',
  )
}

async function examineFile(connection: SqliteConnection, path: string): Promise<Finding[]> {
  const writable = examineRights(path)
  return writable.level === 'ok' ? [writable, await examineWriting(connection, path)] : [writable]
}

/** The log stands beside the file, so the directory must be writable too. */
export function examineRights(path: string): Finding {
  for (const place of [path, dirname(path)]) {
    try {
      accessSync(place, constants.W_OK)
    } catch {
      return fault(
        'writable',
        `this user may not write ${place}`,
        'Give this user the right to write the file and its directory',
      )
    }
  }
  return ok('writable', 'this user may write the file and its directory')
}

async function examineWriting(connection: SqliteConnection, path: string): Promise<Finding> {
  try {
    await connection.read(() => {
      connection.exec('BEGIN IMMEDIATE')
      // A commit would make a database of an empty file.
      connection.exec('ROLLBACK')
    })
    return ok('file', sentenceOf(holdersOf(path)))
  } catch (error) {
    return heldFinding(path, error)
  }
}

/** For a file that nobody else can use. */
export function heldFinding(path: string, error: unknown): Finding {
  const why = reasonOf(error)
  return fault('file', `${why}; ${sentenceOf(holdersOf(path))}`, 'End the process that holds it, or its transaction')
}

/** Of tables that are missing altogether the schema's check tells. */
function indexesIn(migrations: readonly Migration[], tables: ReadonlySet<string>): string[] {
  return migrations.flatMap(({ statements }) =>
    statements.flatMap((sql) => {
      const [, index, on] = /^CREATE INDEX (\w+) ON (\w+)/.exec(sql) ?? []
      return index !== undefined && tables.has(on ?? '') ? [index] : []
    }),
  )
}
