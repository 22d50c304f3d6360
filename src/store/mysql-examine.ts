/** What MySQL or MariaDB tells of itself. */
import {
  examineClock,
  examineConnections,
  examineIndexes,
  examinePrivileges,
  type Finding,
  fault,
  ok,
  warning,
} from './examine.ts'
import type { Migration } from './migrate.ts'
import type { Answer, Query } from './mysql-connection.ts'
import { integer, text } from './mysql-values.ts'
import type { StoreError } from './store.ts'

type Ask = <Value>(work: (query: Query) => Promise<Value>) => Promise<Value>

/** Each question in a transaction of its own, since some fail. */
export async function examine(ask: Ask, migrations: readonly Migration[]): Promise<Finding[]> {
  const query = (sql: string, values: unknown[] = []): Promise<Answer> => ask((send) => send({ sql, values }))
  const variables = await variablesOf(query)
  const tables = tablesIn(migrations)
  return [
    ok('server', `${variables.get('version')} (${variables.get('version_comment')})`),
    await examineClock(async () => {
      const { rows } = await query('SELECT CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)')
      return integer(rows[0]?.[0])
    }),
    examineReadOnly(variables),
    examinePrivileges(await deniedOn(query, tables), GRANT),
    await indexesOf(query, migrations),
    ...(await connectionsOf(query, variables)),
    examineFlush(variables),
    examineBinaryLog(variables),
    ok('isolation', `READ COMMITTED on session-lock's connections (the server's own is ${isolationOf(variables)})`),
    ok(
      'lock wait',
      `innodb_lock_wait_timeout is ${variables.get('innodb_lock_wait_timeout')} s; session-lock sets its own`,
    ),
  ]
}

const GRANT =
  'GRANT SELECT, INSERT, UPDATE, DELETE ON <database>.* TO <user>; and CREATE, ALTER, INDEX, DROP where it makes its tables itself'

type Ready = (sql: string, values?: unknown[]) => Promise<Answer>

async function variablesOf(query: Ready): Promise<Map<string, string>> {
  const { rows } = await query('SHOW GLOBAL VARIABLES')
  return new Map(rows.map(([name, value]) => [text(name).toLowerCase(), text(value)]))
}

function isolationOf(variables: ReadonlyMap<string, string>): string {
  return variables.get('transaction_isolation') ?? variables.get('tx_isolation') ?? 'unknown'
}

function examineReadOnly(variables: ReadonlyMap<string, string>): Finding {
  const isOn = (name: string) => /^(on|1|true|no_lock|no_lock_no_admin)$/i.test(variables.get(name) ?? '')
  if (!isOn('read_only') && !isOn('super_read_only')) return ok('writable', 'the server takes writes')
  return fault(
    'writable',
    'the server is read-only: it is a replica, or was set so',
    'Give the URL of the primary, or of a proxy that leads there',
  )
}

/** What each table would let this user do. Nothing is written: no row fits the conditions. */
async function deniedOn(query: Ready, tables: readonly string[]): Promise<string[]> {
  const denied: string[] = []
  for (const table of tables) {
    const attempts = {
      SELECT: `SELECT 1 FROM ${table} WHERE FALSE`,
      INSERT: `INSERT INTO ${table} SELECT * FROM ${table} WHERE FALSE`,
      UPDATE: `UPDATE ${table} SET ${keyColumnOf(table)} = ${keyColumnOf(table)} WHERE FALSE`,
      DELETE: `DELETE FROM ${table} WHERE FALSE`,
    }
    const refused: string[] = []
    for (const [name, sql] of Object.entries(attempts)) if (await isDenied(query, sql)) refused.push(name)
    if (refused.length > 0) denied.push(`${refused.join(', ')} on ${table}`)
  }
  return denied
}

/** A column of every table of ours. */
function keyColumnOf(table: string): string {
  if (table.endsWith('migrations')) return 'name'
  if (table.endsWith('messages')) return 'message_key'
  return table.endsWith('sources') ? 'position' : 'session_key'
}

/** Of a database, of a table, of a column. */
const DENIED = new Set([1044, 1142, 1143])

async function isDenied(query: Ready, sql: string): Promise<boolean> {
  try {
    await query(sql)
    return false
  } catch (error) {
    const { errno } = ((error as StoreError).cause ?? {}) as { errno?: number }
    // What the server refuses for other reasons (no such table, read-only) others tell of.
    if (errno === undefined) throw error
    return DENIED.has(errno)
  }
}

async function indexesOf(query: Ready, migrations: readonly Migration[]): Promise<Finding> {
  const wanted = migrations.flatMap(({ statements }) =>
    statements.flatMap((sql) => {
      const [, table] = /^CREATE TABLE IF NOT EXISTS (\w+)/.exec(sql) ?? []
      return table === undefined
        ? []
        : [...sql.matchAll(/\bKEY (\w+)? ?\(/g)].map(([, name]) => `${table}.${name ?? 'PRIMARY'}`)
    }),
  )
  const { rows } = await query(
    'SELECT DISTINCT TABLE_NAME, INDEX_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE()',
  )
  const found = new Set(rows.map(([table, index]) => `${text(table)}.${text(index)}`))
  const tables = new Set(rows.map(([table]) => text(table)))
  // Of tables that are missing altogether the schema's check tells.
  return examineIndexes(
    wanted.filter((name) => tables.has(name.split('.')[0] ?? '')),
    found,
  )
}

async function connectionsOf(query: Ready, variables: ReadonlyMap<string, string>): Promise<Finding[]> {
  const status = await query(`SHOW GLOBAL STATUS LIKE 'Threads_connected'`)
  const used = Number(text(status.rows[0]?.[1]))
  const whole = examineConnections('the server', used, Number(variables.get('max_connections')))
  const own = await query(
    `SELECT @@SESSION.max_user_connections,
      (SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = SUBSTRING_INDEX(CURRENT_USER(), '@', 1))`,
  )
  const [limit, ours] = own.rows[0] ?? []
  if (integer(limit) === 0) return [whole]
  return [whole, examineConnections('this user', integer(ours), integer(limit))]
}

function examineFlush(variables: ReadonlyMap<string, string>): Finding {
  const flush = variables.get('innodb_flush_log_at_trx_commit')
  if (flush === '1') return ok('durability', 'what is committed is on disk (innodb_flush_log_at_trx_commit = 1)')
  return warning(
    'durability',
    `innodb_flush_log_at_trx_commit is ${flush}: a power cut forgets up to a second of handled messages`,
    'Set it to 1, or accept that those messages are handled again',
  )
}

function examineBinaryLog(variables: ReadonlyMap<string, string>): Finding {
  const format = variables.get('binlog_format') ?? 'ROW'
  const isOn = /^(on|1)$/i.test(variables.get('log_bin') ?? '')
  if (!isOn || format.toUpperCase() !== 'STATEMENT')
    return ok('binary log', isOn ? `binlog_format is ${format}` : 'off')
  return fault(
    'binary log',
    'binlog_format is STATEMENT, which READ COMMITTED rules out',
    'Set binlog_format to ROW or MIXED',
  )
}

function tablesIn(migrations: readonly Migration[]): string[] {
  return migrations.flatMap(({ statements }) =>
    statements.flatMap((sql) => /^CREATE TABLE IF NOT EXISTS (\w+)/.exec(sql)?.[1] ?? []),
  )
}
