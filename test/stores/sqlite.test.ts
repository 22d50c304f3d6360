import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { open as openFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest'
import { readMigrations } from '../../src/store/migrate.ts'
import { sqliteStore } from '../../src/store/sqlite.ts'
import type { SqliteDatabase } from '../../src/store/sqlite-driver.ts'
import { type Store, StoreError } from '../../src/store/store.ts'
import { gate } from '../http/bot.ts'
import { makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'
import { spawnNode } from '../processes/spawn-node.ts'
import { acquire, addresses, ask, claimOf, settlementOf } from './store-items.ts'

const CHILD = new URL('children/sqlite-node.mjs', import.meta.url)
const SETTINGS = { tablePrefix: 'session_lock_', timeoutMs: 5000 }

const directory = makeTemporaryDirectory('sqlite')
afterAll(() => removeTemporaryDirectory(directory))

const opened: Array<{ close(): unknown }> = []
afterEach(async () => {
  vi.restoreAllMocks()
  for (const one of opened.splice(0)) await one.close()
})

let files = 0
function newFile(): string {
  return join(directory, `${++files}.db`)
}

async function openAt(file: string | SqliteDatabase, settings = SETTINGS): Promise<Store> {
  const store = await sqliteStore(file, settings)
  opened.push(store)
  await store.migrate()
  return store
}

function openByHand(file: string): Database.Database {
  const database = new Database(file)
  opened.push(database)
  return database
}

/** Runs the work while another process holds the file's write lock for `heldMs`. */
async function whileHeld<Value>(file: string, heldMs: number, work: () => Promise<Value>): Promise<Value> {
  const holder = spawnNode(CHILD, ['hold', `sqlite:${file}`, `${heldMs}`])
  await holder.waitForLine(/holding/)
  const value = await work()
  await holder.exited
  return value
}

/** The longest time that a timer of 5 ms was late while the work ran. */
async function longestStandstillMs(work: () => Promise<unknown>): Promise<number> {
  let last = performance.now()
  let longest = 0
  const look = () => {
    longest = Math.max(longest, performance.now() - last - 5)
    last = performance.now()
  }
  const timer = setInterval(look, 5)
  try {
    await work()
  } finally {
    clearInterval(timer)
    // Work that stood still to its very end leaves the timer no turn.
    look()
  }
  return longest
}

async function rejection(work: Promise<unknown>): Promise<StoreError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof StoreError)) throw new Error(`expected a StoreError, not ${error}`)
  return error
}

describe('several processes on one file', () => {
  test('20 processes migrate at once: one applies, all find the tables', async () => {
    const url = `sqlite:${newFile()}`
    const nodes = Array.from({ length: 20 }, () => spawnNode(CHILD, ['migrate', url]))
    await Promise.all(nodes.map((node) => node.waitForLine(/^ready/)))
    for (const node of nodes) node.send('go')
    const endings = await Promise.all(nodes.map((node) => node.exited))
    expect(endings.map((ending) => ending.code)).toEqual(nodes.map(() => 0))
    const applied = nodes.map((node) => node.lines.find((line) => line.startsWith('applied')))
    const names = (await readMigrations('sqlite', 'session_lock_')).map(({ name }) => name)
    expect(applied.filter((line) => line === `applied ${JSON.stringify(names)}`)).toHaveLength(1)
    expect(applied.filter((line) => line === 'applied []')).toHaveLength(19)
  })

  test('4 processes claim the same 100 messages of 5 sessions: each is handled once, tokens only grow', async () => {
    const file = newFile()
    const store = await openAt(file)
    const nodes = ['a', 'b', 'c', 'd'].map((name) => spawnNode(CHILD, ['handle', `sqlite:${file}`, name, '5', '20']))
    await Promise.all(nodes.map((node) => node.waitForLine(/^ready/)))
    for (const node of nodes) node.send('go')
    const endings = await Promise.all(nodes.map((node) => node.exited))
    expect(endings.map((ending) => ending.code)).toEqual([0, 0, 0, 0])
    const runs = nodes.flatMap((node) =>
      node.lines.filter((line) => line.startsWith('ran ')).map((line) => line.split(' ')),
    )
    expect(new Set(runs.map(([, message]) => message)).size).toBe(100)
    expect(runs).toHaveLength(100)
    expect(new Set(runs.map(([, , session, token]) => `${session} ${token}`)).size).toBe(100)
    const { messages, sessions } = await store.stats()
    expect([messages.completed, sessions]).toEqual([100, 0])
  })
})

describe('a busy file', () => {
  test('while another process holds the write lock for 1 s the event loop keeps turning, and the claim succeeds', async () => {
    const file = newFile()
    const store = await openAt(file)
    const standstill = await whileHeld(file, 1000, () =>
      longestStandstillMs(async () => {
        const from = performance.now()
        await Promise.all([acquire(store, claimOf('a', 's', 'm')), store.renew([]), store.settle([])])
        expect(performance.now() - from).toBeGreaterThan(500)
      }),
    )
    expect(standstill).toBeLessThan(100)
  })

  test('a database that was handed over keeps its own busy timeout, and still does not stop the event loop', async () => {
    const file = newFile()
    const database = openByHand(file)
    database.pragma('journal_mode = WAL')
    database.pragma('busy_timeout = 3000')
    const store = await openAt(database)
    const standstill = await whileHeld(file, 1000, () =>
      longestStandstillMs(() => acquire(store, claimOf('a', 's', 'm'))),
    )
    expect(standstill).toBeLessThan(100)
    expect(database.pragma('busy_timeout', { simple: true })).toBe(3000)
  })

  test('after timeoutMs the call is given up, says why, and has changed nothing', async () => {
    const file = newFile()
    const store = await openAt(file, { ...SETTINGS, timeoutMs: 200 })
    await whileHeld(file, 1000, async () => {
      const from = performance.now()
      const error = await rejection(store.claim([claimOf('a', 's', 'm')]))
      expect(performance.now() - from).toBeLessThan(600)
      expect(error.kind).toBe('unreachable')
      expect(error.message).toContain('another process')
    })
    expect(await store.sessions({ limit: 10 })).toEqual([])
    expect((await ask(store, claimOf('a', 's', 'm'))).outcome).toBe('acquired')
  })

  test('reading goes on while another process writes', async () => {
    const file = newFile()
    const store = await openAt(file, { ...SETTINGS, timeoutMs: 200 })
    const token = await acquire(store, claimOf('a', 's', 'm'))
    await store.settle([settlementOf('a', 's', 'm', token)])
    await whileHeld(file, 600, async () => {
      expect(await store.look(addresses(['m']))).toEqual([{ key: 'm', response: null }])
      expect((await store.stats()).messages.completed).toBe(1)
    })
  })

  test("the user's own open transaction is waited for, and not touched", async () => {
    const database = openByHand(newFile())
    const store = await openAt(database)
    database.exec('CREATE TABLE theirs (n INTEGER); BEGIN; INSERT INTO theirs VALUES (1)')
    const claimed = ask(store, claimOf('a', 's', 'm'))
    await pause(50)
    expect(database.inTransaction).toBe(true)
    database.exec('COMMIT')
    expect((await claimed).outcome).toBe('acquired')
    expect(database.prepare('SELECT n FROM theirs').all()).toEqual([{ n: 1 }])
  })
})

describe('what a store writes', () => {
  test('a clock that is set back shrinks no token', async () => {
    const store = await openAt(newFile())
    const first = await acquire(store, claimOf('a', 's', 'm1'))
    await store.settle([settlementOf('a', 's', 'm1', first)])
    vi.spyOn(Date, 'now').mockReturnValue(Date.now() - 86_400_000)
    expect(await acquire(store, claimOf('b', 's', 'm2'))).toBeGreaterThan(first)
  })

  test('a batch of which one operation is refused changes nothing', async () => {
    const file = newFile()
    const store = await openAt(file)
    openByHand(file).exec(`CREATE TRIGGER refuse BEFORE INSERT ON session_lock_sessions
      WHEN NEW.session_key = 'bad' BEGIN SELECT RAISE(ABORT, 'refused'); END`)
    const error = await rejection(store.claim([claimOf('a', 'good', 'm1'), claimOf('b', 'bad', 'm2')]))
    expect([error.kind, error.answerLost]).toEqual(['data', false])
    expect(await store.sessions({ limit: 10 })).toEqual([])
    expect((await ask(store, claimOf('a', 'good', 'm1'))).outcome).toBe('acquired')
  })

  test('what a claim and a settlement look up is found by key, what a clean-up removes by index', async () => {
    const file = newFile()
    await openAt(file)
    const plan = (sql: string) =>
      (openByHand(file).prepare(`EXPLAIN QUERY PLAN ${sql}`).all() as Array<{ detail: string }>).map(
        (row) => row.detail,
      )
    expect(plan("SELECT * FROM session_lock_sessions WHERE session_key = 'a'").join()).toContain('PRIMARY KEY')
    expect(plan("SELECT * FROM session_lock_messages WHERE message_key = 'a'").join()).toContain('PRIMARY KEY')
    expect(
      plan(
        "SELECT message_key FROM session_lock_messages WHERE status IN ('completed', 'failed') AND expires_at <= 1 LIMIT 9",
      ).join(),
    ).toContain('USING COVERING INDEX session_lock_messages_expires_at (status=? AND expires_at<?)')
  })

  test('a database in memory is told to be of a single process, a file is not', async () => {
    expect((await openAt('sqlite::memory:')).singleProcess).toBe(true)
    expect((await openAt(newFile())).singleProcess).toBe(false)
    expect((await openAt(new Database(':memory:'))).singleProcess).toBe(true)
  })

  test('a file is switched to write-ahead logging, a database that was handed over is left as it is', async () => {
    const [ours, theirs] = [newFile(), openByHand(newFile())]
    await openAt(ours)
    await openAt(theirs)
    expect(openByHand(ours).pragma('journal_mode', { simple: true })).toBe('wal')
    expect(theirs.pragma('journal_mode', { simple: true })).toBe('delete')
  })

  test('what is acknowledged waits for the disk beside the event loop; a claim does not', async () => {
    const file = newFile()
    const store = await openAt(file)
    const handle = await openFile(file)
    const synced = gate()
    const sync = vi.spyOn(Object.getPrototypeOf(handle), 'datasync').mockReturnValue(synced.passed)
    await handle.close()
    const token = await acquire(store, claimOf('a', 's', 'm'))
    expect(sync).not.toHaveBeenCalled()
    let isSettled = false
    const settling = store.settle([settlementOf('a', 's', 'm', token)]).then((verdicts) => {
      isSettled = true
      return verdicts
    })
    await expect.poll(() => sync.mock.calls.length).toBe(1)
    await new Promise(setImmediate)
    expect(isSettled).toBe(false)
    synced.pass()
    expect(await settling).toEqual(['settled'])
    sync.mockRejectedValueOnce(Object.assign(new Error('no disk'), { code: 'EIO' }))
    const error = await rejection(store.settle([settlementOf('a', 's', 'm', token)]))
    expect([error.kind, error.answerLost]).toEqual(['unreachable', true])
    sync.mockRestore()
  })

  test('a database that was handed over is not closed, and may give integers as bigints', async () => {
    const database = openByHand(newFile())
    database.defaultSafeIntegers(true)
    const store = await openAt(database)
    const token = await acquire(store, claimOf('a', 's', 'm'))
    expect(await store.sessions({ limit: 1 })).toMatchObject([{ fencingToken: token, stale: false }])
    expect(await store.settle([settlementOf('a', 's', 'm', token)])).toEqual(['settled'])
    expect(await store.stats()).toMatchObject({ sessions: 0, messages: { completed: 1 } })
    await store.close()
    expect(database.open).toBe(true)
  })
})

describe('tables', () => {
  test('files that were run by hand count as applied', async () => {
    const file = newFile()
    const folder = new URL('../../sql/sqlite/', import.meta.url)
    for (const name of readdirSync(folder).sort()) openByHand(file).exec(readFileSync(new URL(name, folder), 'utf8'))
    const store = await sqliteStore(file, SETTINGS)
    opened.push(store)
    await store.checkSchema()
    expect(await store.migrate()).toEqual([])
  })

  test('tables of a later release are refused by name of the version', async () => {
    const file = newFile()
    const store = await openAt(file)
    openByHand(file).exec("INSERT INTO session_lock_migrations VALUES (9999, 'later', 0)")
    for (const error of [await rejection(store.migrate()), await rejection(store.checkSchema())]) {
      expect(error.kind).toBe('setup')
      expect(error.message).toContain('9999')
    }
  })

  test('missing tables are an error that says what to do', async () => {
    const store = await sqliteStore(newFile(), SETTINGS)
    opened.push(store)
    for (const error of [
      await rejection(store.checkSchema()),
      await rejection(store.claim([claimOf('a', 's', 'm')])),
    ]) {
      expect(error.kind).toBe('setup')
      expect(error.message).toContain('migrate')
    }
  })

  test('two prefixes in one file know nothing of each other', async () => {
    const file = newFile()
    const one = await openAt(file, { ...SETTINGS, tablePrefix: 'one_' })
    const two = await openAt(file, { ...SETTINGS, tablePrefix: 'two_' })
    await acquire(one, claimOf('a', 's', 'm'))
    expect((await ask(two, claimOf('b', 's', 'm'))).outcome).toBe('acquired')
  })
})

describe('what cannot be opened or written', () => {
  test('a missing directory is named', async () => {
    const file = join(directory, 'missing', 'bot.db')
    const error = await rejection(sqliteStore(`sqlite:${file}`, SETTINGS))
    expect(error.kind).toBe('setup')
    expect(error.message).toContain(file)
    expect(error.message).toContain('directory must exist')
  })

  test('a file that is no database is named', async () => {
    const file = newFile()
    writeFileSync(
      file,
      'this is a text, and long enough to be looked at as a database would be, page by page. '.repeat(9),
    )
    const error = await rejection(sqliteStore(file, SETTINGS))
    expect(error.kind).toBe('setup')
    expect(error.message).toContain(file)
  })

  test('a full disk is "unreachable", and over when there is room again', async () => {
    const database = openByHand(newFile())
    const store = await openAt(database)
    const pages = database.pragma('page_count', { simple: true })
    database.pragma(`max_page_count = ${pages}`)
    const messages = Array.from({ length: 200 }, (_, index) => ({
      key: 'm'.repeat(200) + index,
      home: 's',
      provider: 'p',
      device: null,
      id: 'm',
    }))
    const big = claimOf('a', 's', 'm', { parts: [{ rows: [{ key: 's', prospect: null, device: null }], messages }] })
    const error = await rejection(store.claim([big]))
    expect([error.kind, error.answerLost]).toEqual(['unreachable', false])
    expect(error.message).toContain('disk is full')
    database.pragma('max_page_count = 100000')
    expect((await ask(store, big)).outcome).toBe('acquired')
  })

  test('a closed store says so', async () => {
    const store = await openAt(newFile())
    await store.close()
    await store.close()
    expect((await rejection(store.claim([claimOf('a', 's', 'm')]))).kind).toBe('unreachable')
  })
})
