/** The doctor, on stores that are well, and on those that have each a fault that was put there. */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { type Connection, createConnection } from 'mysql2/promise'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { createSessionLock } from '../../src/index.ts'
import type { Finding } from '../../src/store/examine.ts'
import { makeTemporaryDirectory } from '../processes/guard.ts'
import { spawnNode } from '../processes/spawn-node.ts'
import { startRedis } from '../servers/redis.ts'
import { dropTables, mysqlUrl } from '../stores/mysql-tables.ts'
import { dropPostgresTables, postgresUrl } from '../stores/postgres-tables.ts'
import { redisUrl } from '../stores/redis-keys.ts'
import { sharedStores } from '../stores/shared-stores.ts'
import { PROGRAM, sessionLock } from './program.ts'

const PREFIX = 'doctor_'
const directory = makeTemporaryDirectory('doctor')

interface Diagnosis {
  readonly code: number
  readonly findings: readonly Finding[]
}

async function diagnose(url: string, env: Record<string, string> = {}): Promise<Diagnosis> {
  const { code, stdout, stderr } = await sessionLock(
    ['doctor', '--json', '--store', url, '--table-prefix', PREFIX],
    env,
  )
  if (stdout === '') throw new Error(stderr)
  return { code, findings: JSON.parse(stdout) }
}

/** What is wrong, by its check. */
function bad({ findings }: Diagnosis): Record<string, string> {
  const found = findings.filter(({ level }) => level !== 'ok')
  for (const finding of found) expect(finding.advice).toBeTruthy()
  return Object.fromEntries(found.map(({ check, level, text }) => [check, `${level}: ${text}`]))
}

async function makeTables(store: string): Promise<void> {
  const lock = createSessionLock({ store, tablePrefix: PREFIX, logger: false })
  await lock.ready()
  await lock.close()
}

function as(url: string, user: string, password: string): string {
  const other = new URL(url)
  Object.assign(other, { username: user, password })
  return other.href
}

describe.each(sharedStores)('on $name', ({ name, url, forget }) => {
  beforeAll(async () => {
    await forget(new Set([PREFIX]))
    await makeTables(url())
  })
  afterAll(() => forget(new Set([PREFIX])))

  test('nothing is wrong with a store that is well', async () => {
    const { code, findings } = await diagnose(url())
    expect(findings.filter(({ level }) => level !== 'ok')).toEqual([])
    expect(code).toBe(0)
    expect(findings.map(({ check }) => check)).toEqual(
      expect.arrayContaining(['server', 'writable', 'tables', 'sessions']),
    )
  })

  // SQLite has no clock but the machine's.
  if (name === 'sqlite') return

  test('fault 1: a clock that is 90 s off', async () => {
    const late = 'const now = Date.now; Date.now = () => now() - 90000'
    const diagnosis = await diagnose(url(), {
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(late)}`,
    })
    expect(bad(diagnosis)).toEqual({
      clock: expect.stringMatching(/^warning: the store's clock is (89|90)\.\d s ahead/),
    })
    // A warning alone is no fault.
    expect(diagnosis.code).toBe(0)
  })
})

describe('on MariaDB', () => {
  let admin: Connection
  beforeAll(async () => {
    admin = await createConnection(mysqlUrl())
    await makeTables(mysqlUrl())
  })
  afterAll(async () => {
    await dropTables(new Set([PREFIX]))
    await admin.end()
  })

  async function makeUser(name: string, more: string, privileges: string): Promise<string> {
    // Of the host itself: else the server takes an anonymous user of it for this one.
    const user = `'${name}'@'localhost'`
    await admin.query(`DROP USER IF EXISTS ${user}`)
    await admin.query(`CREATE USER ${user} IDENTIFIED BY 'secret' ${more}`)
    await admin.query(`GRANT ${privileges} ON *.* TO ${user}`)
    onTestFinished(async () => void (await admin.query(`DROP USER ${user}`)))
    return as(mysqlUrl(), name, 'secret')
  }

  test('fault 3: an index is missing', async () => {
    await admin.query(`DROP INDEX ${PREFIX}messages_expiry ON ${PREFIX}messages`)
    expect(bad(await diagnose(mysqlUrl()))).toEqual({
      indexes: `fault: missing: ${PREFIX}messages.${PREFIX}messages_expiry`,
    })
    await admin.query(`CREATE INDEX ${PREFIX}messages_expiry ON ${PREFIX}messages (expires_at, status)`)
    expect((await diagnose(mysqlUrl())).code).toBe(0)
  })

  test('fault 4: a privilege is missing', async () => {
    const url = await makeUser('doctor_reader', '', 'SELECT, INSERT, UPDATE')
    const { privileges } = bad(await diagnose(url))
    expect(privileges).toMatch(/^fault: this user may not: .*DELETE on doctor_sessions/)
    expect(privileges).not.toMatch(/SELECT|INSERT|UPDATE/)
  })

  test.each([
    [
      'fault 5: the tables are too new',
      `INSERT INTO ${PREFIX}migrations VALUES (99, '0099_later', NOW(6))`,
      /of version 99/,
      /^Install the release/,
    ],
    [
      'fault 6: the tables are too old',
      `DELETE FROM ${PREFIX}migrations WHERE version = 1`,
      /of an older version/,
      /migrate.*0001_tables/,
    ],
  ])('%s', async (_, sql, text, advice) => {
    await admin.query(sql)
    const diagnosis = await diagnose(mysqlUrl())
    expect(bad(diagnosis)).toEqual({ tables: expect.stringMatching(text) })
    expect(diagnosis.findings.at(-1)?.advice).toMatch(advice)
    await admin.query(`DELETE FROM ${PREFIX}migrations WHERE version = 99`)
    await admin.query(`INSERT IGNORE INTO ${PREFIX}migrations VALUES (1, '0001_tables', NOW(6))`)
  })

  test('fault 8: the connections are nearly used up', async () => {
    const url = await makeUser('doctor_crowd', 'WITH MAX_USER_CONNECTIONS 5', 'ALL PRIVILEGES')
    const others = await Promise.all([1, 2, 3].map(() => createConnection(url)))
    onTestFinished(async () => void (await Promise.all(others.map((other) => other.end()))))
    const crowded = await createConnection(url)
    onTestFinished(() => crowded.end())
    expect(bad(await diagnose(url))).toEqual({
      connections: expect.stringMatching(/^warning: this user has 5 of 5 connections in use/),
    })
  })
})

describe('on Postgres', () => {
  const admin = () => {
    const client = new Client({ connectionString: postgresUrl() })
    return client.connect().then(() => client)
  }
  let client: Client
  beforeAll(async () => {
    client = await admin()
    await makeTables(postgresUrl())
  })
  afterAll(async () => {
    await client.end()
    await dropPostgresTables(new Set([PREFIX]))
  })

  async function makeRole(name: string, more: string, privileges: string): Promise<string> {
    await client.query(
      `DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '${name}') THEN DROP OWNED BY ${name}; DROP ROLE ${name}; END IF; END $$`,
    )
    await client.query(`CREATE ROLE ${name} LOGIN PASSWORD 'secret' ${more}`)
    await client.query(`GRANT ${privileges} ON ALL TABLES IN SCHEMA public TO ${name}`)
    onTestFinished(async () => {
      await client.query(`DROP OWNED BY ${name}`)
      await client.query(`DROP ROLE ${name}`)
    })
    return as(postgresUrl(), name, 'secret')
  }

  test('fault 3: an index is missing', async () => {
    await client.query(`DROP INDEX ${PREFIX}messages_expiry`)
    expect(bad(await diagnose(postgresUrl()))).toEqual({ indexes: `fault: missing: ${PREFIX}messages_expiry` })
    await client.query(`CREATE INDEX ${PREFIX}messages_expiry ON ${PREFIX}messages (expires_at, status)`)
  })

  test('fault 4: a privilege is missing', async () => {
    const url = await makeRole('doctor_reader', '', 'SELECT, INSERT')
    await client.query(`CREATE TABLE ${PREFIX}settings (name text)`)
    onTestFinished(async () => void (await client.query(`DROP TABLE ${PREFIX}settings`)))
    const { privileges } = bad(await diagnose(url))
    // A table of the bot's own, which only begins alike, is not looked at.
    expect(privileges).not.toContain('settings')
    expect(privileges).toMatch(/^fault: this user may not: .*UPDATE, DELETE on doctor_sessions/)
  })

  test.each([
    [
      'fault 5: the tables are too new',
      `INSERT INTO ${PREFIX}migrations VALUES (99, '0099_later', now())`,
      /of version 99/,
      /^Install the release/,
    ],
    [
      'fault 6: the tables are too old',
      `DELETE FROM ${PREFIX}migrations WHERE version = 3`,
      /of an older version/,
      /migrate.*0003_queue_functions/,
    ],
  ])('%s', async (_, sql, text, advice) => {
    await client.query(sql)
    const diagnosis = await diagnose(postgresUrl())
    expect(bad(diagnosis)).toEqual({ tables: expect.stringMatching(text) })
    expect(diagnosis.findings.at(-1)?.advice).toMatch(advice)
    await client.query(`DELETE FROM ${PREFIX}migrations WHERE version = 99`)
    await client.query(
      `INSERT INTO ${PREFIX}migrations VALUES (3, '0003_queue_functions', now()) ON CONFLICT DO NOTHING`,
    )
  })

  test.each([
    [
      'fault 7: a pool that is REPEATABLE READ',
      `default_transaction_isolation = 'repeatable read'`,
      'isolation',
      /is repeatable read/,
    ],
    ['fault 9: a server that takes no writes', 'default_transaction_read_only = on', 'writable', /takes no writes/],
  ])('%s', async (_, setting, check, text) => {
    const url = await makeRole('doctor_set', '', 'ALL')
    await client.query(`ALTER ROLE doctor_set SET ${setting}`)
    expect(bad(await diagnose(url))).toMatchObject({ [check]: expect.stringMatching(text) })
  })

  test('fault 8: the connections are nearly used up', async () => {
    const url = await makeRole('doctor_crowd', 'CONNECTION LIMIT 3', 'ALL')
    const others = [1, 2].map(() => new Client({ connectionString: url }))
    await Promise.all(others.map((other) => other.connect()))
    onTestFinished(async () => void (await Promise.all(others.map((other) => other.end()))))
    expect(bad(await diagnose(url))).toMatchObject({
      connections: expect.stringMatching(/^warning: this role has 3 of 3 connections in use/),
    })
  })
})

describe('on Redis', () => {
  test('fault 2: it throws keys away when it is full', async () => {
    const server = await startRedis(['--maxmemory', '64mb', '--maxmemory-policy', 'allkeys-lru'])
    onTestFinished(server.stop)
    const diagnosis = await diagnose(server.url)
    expect(bad(diagnosis)).toMatchObject({ memory: expect.stringMatching(/^fault: maxmemory-policy is allkeys-lru/) })
    expect(diagnosis.code).toBe(3)
  })

  test('no append-only file is a warning, and no fault', async () => {
    const server = await startRedis(['--appendonly', 'no'])
    onTestFinished(server.stop)
    await makeTables(server.url)
    const diagnosis = await diagnose(server.url)
    expect(bad(diagnosis)).toEqual({ persistence: expect.stringMatching(/^warning: there is no append-only file/) })
    expect(diagnosis.code).toBe(0)
  })

  test('fault 9: a read-only replica', async () => {
    const { hostname, port, password } = new URL(redisUrl())
    const settings = ['--replicaof', `${hostname} ${port}`, '--masterauth', decodeURIComponent(password)]
    const server = await startRedis(settings)
    onTestFinished(server.stop)
    expect(bad(await diagnose(server.url))).toMatchObject({
      writable: `fault: this is a read-only replica of ${hostname}:${port}`,
    })
  })
})

test('a file of DuckDB beside the store: who has it open, and that nobody has', async () => {
  const path = join(directory, 'app.duckdb')
  const holder = spawnNode(new URL('children/hold-duckdb.mjs', import.meta.url), [path])
  await holder.waitForLine(/^held/)
  const store = `sqlite:${join(directory, 'beside.db')}`
  await makeTables(store)
  const look = async (file: string) => {
    const args = ['doctor', '--json', '--store', store, '--table-prefix', PREFIX, '--file', file]
    const findings = JSON.parse((await sessionLock(args)).stdout) as Finding[]
    return findings.find(({ check }) => check === 'open file')
  }
  const text = expect.stringMatching(new RegExp(`app\\.duckdb: it is open in process ${holder.pid} \\(`))
  expect(await look(path)).toMatchObject({ level: 'ok', text })
  holder.kill('SIGKILL')
  await holder.exited
  expect(await look(path)).toMatchObject({ text: expect.stringContaining('no other process has it open') })
  expect(await look(`${path}.elsewhere`)).toMatchObject({
    level: 'warning',
    text: expect.stringContaining('is not there'),
  })
})

test('fault 10: an SQLite file that another process holds', async () => {
  const path = join(directory, 'held.db')
  await makeTables(`sqlite:${path}`)
  const holder = spawnNode(new URL('children/hold-file.mjs', import.meta.url), [path])
  await holder.waitForLine(/^held/)
  const { file } = bad(await diagnose(`sqlite:${path}`))
  expect(file).toMatch(
    new RegExp(`^fault: .*another process or transaction holds the file.* it is open in process ${holder.pid} \\(`),
  )
  holder.kill('SIGKILL')
  await holder.exited
  expect((await diagnose(`sqlite:${path}`)).code).toBe(0)
})

test('an SQLite file that this user may not write', async () => {
  const own = join(directory, 'read-only')
  const path = join(own, 'bot.db')
  mkdirSync(own)
  await makeTables(`sqlite:${path}`)
  chmodSync(path, 0o444)
  chmodSync(own, 0o555)
  onTestFinished(() => chmodSync(own, 0o755))
  // Root may write any file, unless that right is taken from it.
  const limits = process.getuid?.() === 0 ? ['setpriv', '--bounding-set=-dac_override', '--'] : []
  const words = ['doctor', '--json', '--store', `sqlite:${path}`, '--table-prefix', PREFIX]
  const { status, stdout } = spawnSync('env', [...limits, process.execPath, PROGRAM, ...words], { encoding: 'utf8' })
  expect(bad({ code: 3, findings: JSON.parse(stdout) })).toEqual({ writable: `fault: this user may not write ${path}` })
  expect(status).toBe(3)
})

test('an SQLite file that is no bot’s yet is looked at, and left as it is', async () => {
  const [empty, other] = [join(directory, 'empty.db'), join(directory, 'other.db')]
  writeFileSync(empty, '')
  new Database(other).exec('CREATE TABLE notes (text)').close()
  for (const path of [empty, other]) {
    const before = readFileSync(path)
    expect(bad(await diagnose(`sqlite:${path}`))).toEqual({
      journal: expect.stringMatching(/^warning: journal_mode is delete/),
      tables: expect.stringMatching(/^fault: the tables are missing/),
    })
    for (const words of [['migrate', '--check'], ['sessions'], ['stats']])
      await sessionLock([...words, '--store', `sqlite:${path}`])
    expect(readFileSync(path).equals(before)).toBe(true)
    expect(existsSync(`${path}-wal`)).toBe(false)
  }
})

test('what cannot be reached at all ends in one line, code 1', async () => {
  const printed = await sessionLock(['doctor', '--store', 'redis://:hidden@127.0.0.1:1/0'])
  expect(printed).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^session-lock: [^\n]+\n$/) })
  expect(printed.stderr).not.toContain('hidden')
})
