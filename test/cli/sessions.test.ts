import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, test } from 'vitest'
import { createSessionLock, type SessionLock } from '../../src/engine/lock.ts'
import { makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'
import { mysqlUrl } from '../stores/mysql-tables.ts'
import { postgresUrl } from '../stores/postgres-tables.ts'
import { redisUrl } from '../stores/redis-keys.ts'
import { sharedStores } from '../stores/shared-stores.ts'
import { sessionLock } from './program.ts'

const TABLE_PREFIX = 'cli_sessions_'
const WAMID = 'wamid.HBgLMTU1NTAwMDIyMjIVAgASGBQzQTAx'

const directory = makeTemporaryDirectory('cli')
const emptyFile = join(directory, 'empty.db')
const wrongFile = join(directory, 'wrong.db')
writeFileSync(emptyFile, '')
writeFileSync(wrongFile, 'this is a letter to a friend, and no database at all')
afterAll(() => removeTemporaryDirectory(directory))

/** Holds a session while the program looks. */
async function whileHeld<Value>(lock: SessionLock, messageId: string, look: () => Promise<Value>): Promise<Value> {
  const key = { messageId, prospect: '15550002222', device: '100000000000001' }
  const result = await lock.run(key, look)
  if (result.status !== 'processed') throw new Error(`the session was ${result.status}`)
  return result.value
}

function columnsOf(line: string | undefined): string[] {
  return line?.split(/ {2,}/) ?? []
}

describe.each(sharedStores)('session-lock sessions, on $name', ({ url, forget }) => {
  afterAll(() => forget(new Set([TABLE_PREFIX])))

  const open = (more: { staleAfterMs?: number; renew?: boolean } = {}) =>
    createSessionLock({ store: url(), tablePrefix: TABLE_PREFIX, nodeId: 'node-a', logger: false, ...more })
  const look = (...args: string[]) => sessionLock(['sessions', '--table-prefix', TABLE_PREFIX, ...args])

  test('prints who holds what, and says so when nobody does', async () => {
    const lock = open()
    const printed = await whileHeld(lock, WAMID, () => look('--store', url()))
    expect(printed).toMatchObject({ code: 0, stderr: '' })
    const lines = printed.stdout.trimEnd().split('\n')
    expect(lines).toHaveLength(2)
    expect(columnsOf(lines[0]).slice(0, 4)).toEqual(['PROSPECT', 'DEVICE', 'MESSAGES', 'NODE'])
    expect(lines[1]).toMatch(
      new RegExp(`^15550002222 +100000000000001 +${WAMID} +node-a +\\d+\\.\\ds +\\d+\\.\\ds ago +in \\d+s +\\d+$`),
    )
    expect(await look('--store', url())).toEqual({ code: 0, stdout: 'no session is held\n', stderr: '' })
    await lock.close()
  })

  test('--json prints the rows, --limit so many, and SESSION_LOCK_URL names the store', async () => {
    const lock = open()
    const args = ['sessions', '--json', '--limit', '1', '--table-prefix', TABLE_PREFIX]
    const printed = await whileHeld(lock, 'wamid.2', async () => {
      const inner = await lock.run({ session: 'another' }, () => sessionLock(args, { SESSION_LOCK_URL: url() }))
      return inner.status === 'processed' ? inner.value.stdout : inner.status
    })
    expect(JSON.parse(printed)).toMatchObject([
      { prospect: '15550002222', device: '100000000000001', messageIds: ['wamid.2'], nodeId: 'node-a', stale: false },
    ])
    await lock.close()
  })

  test('--stale prints only what nobody renewed', async () => {
    const lock = open({ staleAfterMs: 1000, renew: false })
    const [live, stale] = await whileHeld(lock, 'wamid.3', async () => {
      const before = await lock.sessions({ stale: true })
      await sleep(1100)
      return [before, await look('--store', url(), '--stale')] as const
    })
    expect(live).toEqual([])
    expect(stale.stdout).toMatch(/15550002222 .* stale +\d+/)
    await lock.close()
  })
})

/** A server that takes connections and never says a word. */
async function withSilentServer<Value>(work: (port: number) => Promise<Value>): Promise<Value> {
  const server = createServer((socket) => socket.on('error', () => {}))
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
  })
  try {
    return await work(port)
  } finally {
    server.close()
  }
}

function withWrongPassword(text: string): string {
  const url = new URL(text)
  url.password = 'wrong'
  return url.href
}

const failures: ReadonlyArray<readonly [string, () => string, RegExp]> = [
  ['no URL', () => 'bot.db', /URL must be like sqlite:/],
  ['no such file', () => `sqlite:${join(directory, 'nowhere.db')}`, /there is no file/],
  ['a file that is no database', () => `sqlite:${wrongFile}`, /not a database/],
  ['no tables yet, SQLite', () => `sqlite:${emptyFile}`, /tables are missing/],
  ['no tables yet, MariaDB', () => mysqlUrl(), /tables are missing/],
  ['no tables yet, Postgres', () => postgresUrl(), /tables are missing/],
  ['nothing there yet, Redis', () => redisUrl(), /holds nothing of session-lock yet/],
  ['wrong password, MariaDB', () => withWrongPassword(mysqlUrl()), /refuses the user or the password/],
  [
    'wrong password, Postgres',
    () => withWrongPassword(postgresUrl()),
    /refuses the user or the password|login|password/,
  ],
  ['wrong password, Redis', () => withWrongPassword(redisUrl()), /password/i],
  ['nobody listens, MariaDB', () => 'mysql://bot:hidden@127.0.0.1:1/bot', /is it up, reachable/],
  ['nobody listens, Postgres', () => 'postgres://bot:hidden@127.0.0.1:1/bot', /is it up, reachable/],
  ['nobody listens, Redis', () => 'redis://bot:hidden@127.0.0.1:1/0', /is it up|reach/],
]

test.each(failures)('%s: one line on stderr, code 1', async (_, url, text) => {
  const printed = await sessionLock(['sessions', '--store', url(), '--table-prefix', 'cli_nothing_'])
  expect(printed).toMatchObject({ code: 1, stdout: '' })
  expect(printed.stderr).toMatch(/^session-lock: [^\n]+\n$/)
  expect(printed.stderr).toMatch(text)
  expect(printed.stderr).not.toContain('hidden')
})

test.each(['mysql', 'postgres', 'redis'])(
  'a server that never answers, %s: one line on stderr, within 10 s',
  async (scheme) => {
    const startedAt = performance.now()
    const printed = await withSilentServer((port) =>
      sessionLock(['sessions', '--store', `${scheme}://bot:hidden@127.0.0.1:${port}/0`]),
    )
    expect(performance.now() - startedAt).toBeLessThan(10_000)
    expect(printed).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^session-lock: [^\n]+\n$/) })
    expect(printed.stderr).toMatch(`${scheme}://127.0.0.1`)
    expect(printed.stderr).not.toMatch(/pool|hidden/)
  },
)

test.each([
  ['no store', ['sessions']],
  ['a store in memory', ['sessions', '--store', 'memory:']],
  ['an unknown command', ['session']],
  ['an unknown option', ['sessions', '--stores', 'x']],
  ['a limit of none', ['sessions', '--limit', '0']],
  ['SQL as JSON', ['migrate', '--print', '--json', '--store', `sqlite:${emptyFile}`]],
  ['a file of no name', ['sessions', '--store', 'sqlite:']],
  ...[['sessions'], ['doctor'], ['migrate'], ['migrate', '--check'], ['migrate', '--print'], ['bench']].map(
    (words): [string, string[]] => [
      `a prefix that no table has, ${words.join(' ')}`,
      [...words, '--table-prefix', 'a-b', '--store', `sqlite:${emptyFile}`],
    ],
  ),
  ['a rest that no timer takes', ['watch', '--every', '2147484', '--times', '1', '--store', `sqlite:${emptyFile}`]],
])('%s: a usage error, code 2', async (_, args) => {
  expect(await sessionLock(args)).toMatchObject({
    code: 2,
    stdout: '',
    stderr: expect.stringMatching(/^session-lock: [^\n]+\n$/),
  })
})

test('--help has examples, --version is the package’s', async () => {
  expect(await sessionLock(['--help'])).toMatchObject({ code: 0, stdout: expect.stringContaining('Examples:') })
  expect((await sessionLock(['sessions', '--help'])).stdout).toContain('npx session-lock sessions --store')
  expect((await sessionLock(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+/)
})
