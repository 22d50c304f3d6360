/**
 * Migrations: the files `sql/<dialect>/NNNN_name.sql`, read and split, and what is still to be applied.
 *
 * Each file stands on its own, so that somebody who may not let a program change tables can run it
 * by hand: it names the tables literally (`session_lock_…`), its first version makes the ledger
 * (`session_lock_migrations`: version, name, applied_at), and its last statement writes its own row
 * there. A store therefore only runs the statements, under a lock of its own that lets one process
 * at a time do so, and never writes the ledger itself.
 */
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { StoreError } from './store.ts'

/** The databases that have tables. */
export type Dialect = 'mysql' | 'postgres' | 'sqlite'

/** The tables are missing, or of another version than this code's. */
export class SchemaError extends StoreError {
  readonly problem: string
  /** What is to be done about it. */
  readonly advice: string

  constructor(problem: string, advice: string) {
    super('setup', `session-lock: ${problem}. ${advice}`)
    this.problem = problem
    this.advice = advice
  }
}

/** What to do where a later release was here. */
export const NEWER_ADVICE = 'Install the release of session-lock that made them, or a later one.'

/** One file of `sql/<dialect>/`. */
export interface Migration {
  /** The number that the file's name starts with. */
  readonly version: number
  /** The file's name without its ending: `0001_tables`. */
  readonly name: string
  /** In order, without comments and without the closing semicolon. */
  readonly statements: readonly string[]
}

/** What the files call their tables; replaced by the prefix that the user chose. */
const PREFIX_IN_FILES = 'session_lock_'

/**
 * Reads the migrations of a dialect, oldest first, with the tables named `<tablePrefix>…`.
 * Throws a {@link StoreError} of kind `setup` where the files are not there (a bundler left them out).
 */
export async function readMigrations(dialect: Dialect, tablePrefix: string): Promise<Migration[]> {
  requireTablePrefix(tablePrefix)
  // Both src/store and dist/store are two levels below the package's own directory.
  const directory = new URL(`../../sql/${dialect}/`, import.meta.url)
  try {
    const files = (await readdir(directory)).filter((file) => /^\d{4}_\w+\.sql$/.test(file)).sort()
    return await Promise.all(
      files.map(async (file) => ({
        version: Number(file.slice(0, 4)),
        name: file.slice(0, -'.sql'.length),
        statements: splitStatements(await readFile(new URL(file, directory), 'utf8'), tablePrefix),
      })),
    )
  } catch (cause) {
    throw new StoreError(
      'setup',
      `session-lock: cannot read the table definitions in ${fileURLToPath(directory)}. ` +
        'They are part of the package; where a bundler builds the bot, mark session-lock as external.',
      { cause },
    )
  }
}

/**
 * The migrations that are still to be applied.
 * Throws a {@link StoreError} of kind `setup` where the database is newer than this code.
 */
export function pending(migrations: readonly Migration[], appliedVersions: readonly number[]): Migration[] {
  const known = Math.max(0, ...migrations.map((migration) => migration.version))
  const newest = Math.max(0, ...appliedVersions)
  if (newest > known) {
    throw new SchemaError(
      `the tables are of version ${newest}, and this release knows versions up to ${known}`,
      NEWER_ADVICE,
    )
  }
  return migrations.filter((migration) => !appliedVersions.includes(migration.version))
}

/** Throws a {@link StoreError} of kind `setup` unless every migration is applied and none is newer than this code. */
export function requireApplied(
  dialect: Dialect,
  migrations: readonly Migration[],
  appliedVersions: readonly number[],
): void {
  const missing = pending(migrations, appliedVersions).map((migration) => `sql/${dialect}/${migration.name}.sql`)
  if (missing.length === 0) return
  throw new SchemaError(
    'the tables are missing or of an older version',
    `Run "session-lock migrate", set the option migrate: 'auto', call lock.migrate(), or run by hand: ${missing.join(', ')}`,
  )
}

/** Throws a {@link StoreError} of kind `setup` unless the prefix can stand unquoted in a table's name. */
export function requireTablePrefix(tablePrefix: string): void {
  if (/^[A-Za-z_][A-Za-z0-9_]{0,39}$/.test(tablePrefix)) return
  throw new StoreError(
    'setup',
    `session-lock: the table prefix ${JSON.stringify(tablePrefix)} is not usable: ` +
      'it takes 1 to 40 letters, digits and underscores, and does not start with a digit.',
  )
}

/**
 * A statement ends with a semicolon at the end of a line, unless that stands in the body of a function, between
 * `$$` and `$$`; no literal in the files contains ` -- `.
 */
function splitStatements(text: string, tablePrefix: string): string[] {
  const statements = text
    .replace(/(^|[ \t])--([ \t].*)?$/gm, '')
    .replaceAll(PREFIX_IN_FILES, () => tablePrefix)
    .match(/(?:\$\$[\s\S]*?\$\$|[\s\S])+?;\s*$/gm)
  return (statements ?? []).map((statement) => statement.trim().slice(0, -1))
}
