/** What Postgres tells of itself. */
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
import type { Row } from './postgres-connection.ts'

type Ask = (sql: string, values?: readonly unknown[]) => Promise<readonly Row[]>

const GRANT =
  'GRANT SELECT, INSERT, UPDATE, DELETE ON the tables and EXECUTE ON the functions TO <role>; and CREATE ON the schema where it makes them itself'

export async function examine(query: Ask, migrations: readonly Migration[]): Promise<Finding[]> {
  const tables = namesIn(migrations, /^CREATE TABLE IF NOT EXISTS (\w+)/)
  const functions = namesIn(migrations, /^CREATE OR REPLACE FUNCTION (\w+)/)
  const [row] = await query(
    `SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('default_transaction_read_only'),
      current_setting('default_transaction_isolation'), current_setting('synchronous_commit'),
      current_setting('client_connection_check_interval', true), current_setting('fsync')`,
  )
  const [version, isReplica, readOnly, isolation, synchronous, checkInterval, fsync] = row ?? []
  return [
    ok('server', `PostgreSQL ${version}`),
    await examineClock(async () => {
      const [time] = await query(`SELECT round(extract(epoch FROM clock_timestamp()) * 1000)`)
      return Number(time?.[0])
    }),
    examineWritable(isReplica === 't', readOnly === 'on'),
    examineIsolation(isolation ?? ''),
    examinePrivileges(await deniedOn(query, tables, functions), GRANT),
    examineIndexes(indexesIn(migrations, await tablesThere(query, tables)), await indexesThere(query)),
    ...(await connectionsOf(query)),
    examineDurability(synchronous ?? '', fsync ?? ''),
    ok(
      'lost clients',
      `client_connection_check_interval is ${checkInterval || 'not there'}; above 0 the server notices a client that died within a statement`,
    ),
  ]
}

function examineWritable(isReplica: boolean, isReadOnly: boolean): Finding {
  if (!isReplica && !isReadOnly) return ok('writable', 'the server takes writes')
  const text = isReplica ? 'the server is a standby' : 'default_transaction_read_only is on for this role or database'
  return fault(
    'writable',
    `${text}: it takes no writes`,
    'Give the URL of the primary (target_session_attrs=read-write finds it), or set it off',
  )
}

function examineIsolation(isolation: string): Finding {
  if (isolation === 'read committed') return ok('isolation', 'read committed')
  return fault(
    'isolation',
    `default_transaction_isolation is ${isolation}: session-lock refuses to claim under it`,
    `ALTER ROLE <role> SET default_transaction_isolation = 'read committed', or take it out of the pool's options`,
  )
}

function examineDurability(synchronous: string, fsync: string): Finding {
  if (fsync === 'on' && synchronous !== 'off')
    return ok('durability', `synchronous_commit is ${synchronous}, fsync is on`)
  return warning(
    'durability',
    `synchronous_commit is ${synchronous}, fsync is ${fsync}: a power cut forgets the last handled messages`,
    'Set both on, or accept that those messages are handled again',
  )
}

/** As the server has them: whoever else's begin alike are none of ours. */
function namesIn(migrations: readonly Migration[], pattern: RegExp): string[] {
  const made = migrations.flatMap(({ statements }) => statements.flatMap((sql) => pattern.exec(sql)?.[1] ?? []))
  return made.map((name) => name.toLowerCase())
}

async function deniedOn(query: Ask, tables: readonly string[], functions: readonly string[]): Promise<string[]> {
  const onTables = await query(
    `SELECT relname, array_to_string(ARRAY(
        SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p WHERE NOT has_table_privilege(c.oid, p)
      ), ', ')
      FROM pg_class AS c WHERE relkind = 'r' AND relname = ANY ($1::text[]) AND pg_table_is_visible(c.oid)
      ORDER BY relname`,
    [tables],
  )
  const onFunctions = await query(
    `SELECT DISTINCT proname FROM pg_proc AS p
      WHERE proname = ANY ($1::text[]) AND pg_function_is_visible(p.oid) AND NOT has_function_privilege(p.oid, 'EXECUTE')`,
    [functions],
  )
  return [
    ...onTables.filter(([, denied]) => denied !== '').map(([table, denied]) => `${denied} on ${table}`),
    ...onFunctions.map(([name]) => `EXECUTE ${name}`),
  ]
}

async function tablesThere(query: Ask, tables: readonly string[]): Promise<Set<string>> {
  const rows = await query(
    `SELECT relname FROM pg_class AS c
      WHERE relkind = 'r' AND relname = ANY ($1::text[]) AND pg_table_is_visible(c.oid)`,
    [tables],
  )
  return new Set(rows.map(([name]) => name ?? ''))
}

async function indexesThere(query: Ask): Promise<Set<string>> {
  const rows = await query(
    `SELECT relname FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid
      WHERE i.indisvalid AND pg_table_is_visible(c.oid)`,
  )
  return new Set(rows.map(([name]) => name ?? ''))
}

/** Of tables that are missing altogether the schema's check tells. */
function indexesIn(migrations: readonly Migration[], tables: ReadonlySet<string>): string[] {
  return migrations.flatMap(({ statements }) =>
    statements.flatMap((sql) => {
      const [, table] = /^CREATE TABLE IF NOT EXISTS (\w+)/.exec(sql) ?? []
      if (table !== undefined) return tables.has(table.toLowerCase()) ? [`${table.toLowerCase()}_pkey`] : []
      const [, index, on] = /^CREATE INDEX IF NOT EXISTS (\w+) ON (\w+)/.exec(sql) ?? []
      return index !== undefined && tables.has(on?.toLowerCase() ?? '') ? [index.toLowerCase()] : []
    }),
  )
}

async function connectionsOf(query: Ask): Promise<Finding[]> {
  const [row] = await query(
    `SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
      current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
      (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user), rolconnlimit
      FROM pg_roles WHERE rolname = current_user`,
  )
  const [used, limit, ours, ourLimit] = (row ?? []).map(Number)
  const whole = examineConnections('the server', used ?? 0, limit ?? 0)
  return (ourLimit ?? -1) < 0 ? [whole] : [whole, examineConnections('this role', ours ?? 0, ourLimit ?? 0)]
}
