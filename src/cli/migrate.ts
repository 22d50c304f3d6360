/** `session-lock migrate`: makes the tables, or says what there is to make. */
import { type Dialect, readMigrations, SchemaError } from '../store/migrate.ts'
import { openStore } from '../store/open.ts'
import { reasonOf } from '../store/store.ts'
import { asJson, type Command, type OptionValues, type Printed, UsageError } from './command.ts'
import { STORE_HELP, STORE_OPTIONS, storeUrl, tablePrefix, withStore } from './store.ts'

/** An index on a large table takes its time. */
const MIGRATE_TIMEOUT_MS = 30_000

/** The command. */
export const migrateCommand: Command = {
  summary: 'make the tables, print their SQL, or check that they are there',
  help: `Usage: session-lock migrate [options]

Makes the tables where they are missing, or brings them to this release's version. It may run while
the bot does, and on several machines at once: one does the work, the others wait.

Options:
${STORE_HELP}
  --print               print the SQL for somebody who runs it by hand; nothing is asked or changed
  --check               change nothing; ends with code 3 where the tables are missing or of another version,
                        with 1 where they cannot be looked at, an SQLite file that is not there included
  --json                an object: applied (the names), or upToDate (with --check); not with --print
  --help                this text

Examples:
  npx session-lock migrate --store mysql://bot:secret@localhost/bot
  npx session-lock migrate --print --store postgres://localhost/bot > tables.sql
  npx session-lock migrate --check || exit 1`,
  options: {
    ...STORE_OPTIONS,
    print: { type: 'boolean' },
    check: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  takesLong: true,
  async run(values) {
    if (values['print'] === true && values['check'] === true) throw new UsageError('give --print or --check, not both')
    if (values['print'] === true && values['json'] === true) throw new UsageError('--print prints SQL, not JSON')
    if (values['print'] === true) return printTables(values)
    if (values['check'] === true) return checkTables(values)
    return makeTables(values)
  },
}

const DIALECTS: Readonly<Record<string, Dialect>> = {
  sqlite: 'sqlite',
  mysql: 'mysql',
  mariadb: 'mysql',
  postgres: 'postgres',
  postgresql: 'postgres',
}

async function printTables(values: OptionValues): Promise<string> {
  const scheme = storeUrl(values, true).split(':')[0]?.toLowerCase() ?? ''
  const dialect = DIALECTS[scheme]
  if (dialect === undefined) throw new UsageError('Redis has no tables: "session-lock migrate" writes one key there')
  const migrations = await readMigrations(dialect, tablePrefix(values))
  const texts = migrations.map(({ name, statements }) => {
    return [`-- session-lock, ${name}`, ...statements.map((sql) => `${sql};`)].join('\n\n')
  })
  return texts.join('\n\n')
}

async function checkTables(values: OptionValues): Promise<Printed> {
  try {
    await withStore(values, (store) => store.checkSchema())
    return { text: values['json'] === true ? asJson({ upToDate: true }) : 'the tables are up to date', code: 0 }
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error
    const text = reasonOf(error)
    return { text: values['json'] === true ? asJson({ upToDate: false, text }) : text, code: 3 }
  }
}

async function makeTables(values: OptionValues): Promise<string> {
  const settings = { tablePrefix: tablePrefix(values), timeoutMs: MIGRATE_TIMEOUT_MS }
  const { store } = await openStore(storeUrl(values, true), settings)
  try {
    const applied = await store.migrate()
    if (values['json'] === true) return asJson({ applied })
    return applied.length === 0 ? 'the tables are up to date; nothing was changed' : `applied: ${applied.join(', ')}`
  } finally {
    await store.close()
  }
}
