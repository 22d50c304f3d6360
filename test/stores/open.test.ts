import { join } from 'node:path'
import Database from 'better-sqlite3'
import { afterAll, describe, expect, test } from 'vitest'
import { memoryStore } from '../../src/store/memory.ts'
import { pending, readMigrations, requireApplied } from '../../src/store/migrate.ts'
import { describeUrl, isStoreUrl, openStore, type StoreSource } from '../../src/store/open.ts'
import { makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'

const SETTINGS = { tablePrefix: 'session_lock_', timeoutMs: 1000 }

const directory = makeTemporaryDirectory('open')
afterAll(() => removeTemporaryDirectory(directory))

describe('openStore', () => {
  test.each([
    ['memory:', 'memory:'],
    ['sqlite::memory:', 'sqlite::memory:'],
    [`sqlite:${join(directory, 'a.db')}`, `sqlite:${join(directory, 'a.db')}`],
    [`sqlite://${join(directory, 'b.db')}`, `sqlite:${join(directory, 'b.db')}`],
    ['mysql://bot:hidden@127.0.0.1:1/bot', 'mysql://127.0.0.1:1/bot'],
    ['mariadb://bot:hidden@127.0.0.1:1/bot', 'mysql://127.0.0.1:1/bot'],
    ['postgres://bot:hidden@127.0.0.1:1/bot?sslmode=disable', 'postgres://127.0.0.1:1/bot'],
    ['postgresql://bot:hidden@127.0.0.1/bot', 'postgres://127.0.0.1:5432/bot'],
    ['postgres://bot:hidden@127.0.0.1/bot?application_name=me@home', 'postgres://127.0.0.1:5432/bot'],
    ['postgres:///bot?host=/var/run', 'postgres:///var/run:5432/bot'],
    ['mysql://bot:h%2Fd%40n@127.0.0.1:1/bot', 'mysql://127.0.0.1:1/bot'],
    ['redis://:hidden@127.0.0.1:1/2?waitReplicas=1', 'redis://127.0.0.1:1/2'],
    ['rediss://bot:hidden@127.0.0.1:1', 'rediss://127.0.0.1:1'],
  ])('%s', async (url, name) => {
    const { store, opened } = await openStore(url, SETTINGS)
    expect([store.name, opened]).toEqual([name, true])
    await store.close()
  })

  test('a store is handed through, and is not the caller’s to close', async () => {
    const mine = memoryStore()
    expect(await openStore(mine, SETTINGS)).toEqual({ store: mine, opened: false })
  })

  test('a database of the user’s own is used and left open', async () => {
    const database = new Database(':memory:')
    const { store, opened } = await openStore(database, SETTINGS)
    expect(opened).toBe(true)
    expect((await store.migrate())[0]).toBe('0001_tables')
    await store.close()
    expect(database.open).toBe(true)
    database.close()
  })

  test.each([
    ['mongodb://bot:hidden@db/bot', /"mongodb:".*sqlite:.*mysql:/],
    ['hidden', /given as a URL.*sqlite:/],
    ['toString:hidden', /no store is known/],
  ])('%s is refused, by what there is, without the password', async (url, text) => {
    expect(isStoreUrl(url)).toBe(false)
    const error = await openStore(url, SETTINGS).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ kind: 'setup', message: expect.stringMatching(text) })
    expect(String(error)).not.toContain('hidden')
  })

  test.each([
    ['mysql://bot:100%zzhidden@127.0.0.1:1/bot', '%25'],
    ['mysql://bot:hidden@127.0.0.1:1/bot?ssl=true', 'SSL profile'],
    ['postgres://bot:hidden@127.0.0.1:1/bot?sslrootcert=/nowhere', '/nowhere'],
    ['redis://bot:100%zzhidden@127.0.0.1:1/0', '%25'],
  ])('%s is refused by its driver, which is told as an error of the set-up', async (url, text) => {
    const asked = openStore(url, SETTINGS).then(({ store }) => store.checkSchema())
    const error = await asked.catch((reason: unknown) => reason)
    expect(error).toMatchObject({ kind: 'setup', message: expect.stringContaining(text) })
    expect(String(error)).toContain('127.0.0.1:1')
    expect(String(error)).not.toContain('hidden')
  })

  test.each([
    'mysql://bot:12/hidden@db/bot',
    'mariadb://bot:12/x?hidden@db/bot',
    'mysql://bot:12/hidden#3@db/bot',
    'mysql://bot:1@2/x?hidden@db/bot',
    'postgres://bot:12/hidden@db/bot',
    'postgres://bot:12/hidden?x@db/bot',
    'redis://bot:12/5?hidden@db/0',
    'redis://:hid/den@db/0',
  ])('%s is refused, for what was meant is not certain, without the password', async (url) => {
    const error = await openStore(url, SETTINGS).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ kind: 'setup', message: expect.stringContaining('%2F') })
    expect(String(error)).not.toMatch(/hidden|\b12\b/)
  })

  test.each(['sqlite:', 'sqlite://'])('%s is refused, for it names no file', async (url) => {
    const error = { kind: 'setup', message: expect.stringContaining('like sqlite:./bot.db') }
    await expect(openStore(url, SETTINGS)).rejects.toMatchObject(error)
  })

  test('anything else is refused', async () => {
    await expect(openStore({} as StoreSource, SETTINGS)).rejects.toMatchObject({ kind: 'setup' })
  })

  test.each(['', 'a-b_', '1a', 'a; DROP TABLE x', 'x'.repeat(41)])(
    'the table prefix %j is refused',
    async (tablePrefix) => {
      await expect(openStore('memory:', { ...SETTINGS, tablePrefix })).rejects.toMatchObject({ kind: 'setup' })
    },
  )
})

describe('describeUrl', () => {
  test.each([
    ['mysql://bot:hidden@localhost:3306/bot', 'mysql://localhost:3306/bot'],
    ['mysql://bot@db/bot?password=hidden', 'mysql://db/bot'],
    ['mysql://bot:hid#den@db/bot', 'mysql://…'],
    ['mysql://bot:1/hidden@db/bot', 'mysql://…'],
    ['mysql://bot:1?hidden@db/bot', 'mysql://…'],
    ['mysql://bot:1#hidden', 'mysql://…'],
    ['mysql://bot:hidden/x@db', 'mysql://…'],
    ['sqlite:./bot.db', 'sqlite:./bot.db'],
    ['memory:', 'memory:'],
    ['hidden', '…'],
  ])('%s → %s', (url, text) => {
    expect(describeUrl(url)).toBe(text)
  })
})

describe('migrations', () => {
  test.each(['mysql', 'postgres', 'sqlite'] as const)(
    '%s: whole statements, no comments, the prefix of the user',
    async (dialect) => {
      const migrations = await readMigrations(dialect, 'my_')
      expect(migrations[0]).toMatchObject({ version: 1, name: expect.stringMatching(/^0001_/) })
      for (const { statements } of migrations) {
        expect(statements.length).toBeGreaterThan(2)
        for (const statement of statements) {
          expect(statement).toMatch(/^(CREATE|INSERT|ALTER|UPDATE|DROP)/)
          expect(statement.replace(/\$\$.*\$\$/s, '')).not.toMatch(/;$|\$\$/m)
          expect(statement).not.toMatch(/;$(?![\s\S])|(^|\s)--\s|session_lock_/m)
        }
      }
    },
  )

  test('what is pending, and what is too new', () => {
    const migrations = [1, 2, 3].map((version) => ({ version, name: `000${version}_x`, statements: [] }))
    expect(pending(migrations, [1]).map((migration) => migration.version)).toEqual([2, 3])
    expect(pending(migrations, [1, 2, 3])).toEqual([])
    expect(() => pending(migrations, [1, 2, 3, 4])).toThrow(/version 4.*up to 3/)
    expect(() => requireApplied('mysql', migrations, [1, 3])).toThrow(/by hand: sql\/mysql\/0002_x\.sql$/)
  })
})
