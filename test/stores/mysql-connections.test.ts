/** The MySQL store's connections: losses, time limits, wrong URLs, the user's own pool, many nodes at once. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createPool as createCallbackPool } from 'mysql2'
import { type Connection, createPool, type RowDataPacket } from 'mysql2/promise'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readMigrations } from '../../src/store/migrate.ts'
import { type MysqlPool, mysqlStore } from '../../src/store/mysql.ts'
import { mysqlUrl } from './mysql-tables.ts'
import { claimOf, claimOne, type MysqlWorld, mysqlWorld, part, settlementOf, tokenOf, until } from './mysql-world.ts'
import { addresses } from './store-items.ts'
import { startStoreProxy } from './store-proxy.ts'

let world: MysqlWorld
let rejected: unknown[]
const noteRejection = (reason: unknown) => rejected.push(reason)

beforeEach(async () => {
  rejected = []
  process.on('unhandledRejection', noteRejection)
  world = await mysqlWorld()
})
afterEach(async () => {
  await world.close()
  process.off('unhandledRejection', noteRejection)
  expect(rejected).toEqual([])
})

/** Kills the connections that run a statement on the world's tables; how many. */
async function killBusy(connection: Connection): Promise<number> {
  const [rows] = await connection.query<RowDataPacket[]>(
    'SELECT id FROM information_schema.processlist WHERE info LIKE ? AND id <> CONNECTION_ID()',
    [`INSERT INTO ${world.names.sessions}%`],
  )
  for (const row of rows) await connection.query(`KILL ${row['id']}`)
  return rows.length
}

test('a connection killed in the middle of a claim: the claim is unreachable, the next one is served', async () => {
  const store = await world.open()
  const holder = await world.connect()
  await claimOne(store, 'a', part('row'))
  await holder.query('BEGIN')
  await holder.query(`DELETE FROM ${world.names.sessions} WHERE session_key = 'row'`)
  const claiming = claimOne(store, 'b', part('row')).catch((reason: unknown) => reason)
  await world.untilSomeoneWaits()
  expect(await killBusy(holder)).toBe(1)
  expect(await claiming).toMatchObject({ kind: 'unreachable', answerLost: true })
  await holder.query('COMMIT')
  expect(tokenOf(await claimOne(store, 'b', part('row')))).toBeGreaterThan(0)
})

test('idle connections that the server closed are replaced', async () => {
  const proxy = await startStoreProxy(mysqlUrl())
  const store = await world.open({ url: proxy.url })
  const token = tokenOf(await claimOne(store, 'a', part('row')))
  await store.renew([])
  proxy.cutAll()
  // The loss is told by an event, with no call under way; none is to fail for it afterwards.
  await sleep(200)
  expect(await store.look(addresses(['x']))).toEqual([])
  expect(await store.settle([settlementOf('a', part('row'), token)])).toEqual(['settled'])
  await proxy.close()
})

test('a server that no longer answers: every call settles within its limit, and later all is well', async () => {
  const proxy = await startStoreProxy(mysqlUrl())
  const store = await world.open({ url: proxy.url, timeoutMs: 700 })
  await store.look(addresses(['warm']))
  proxy.decide = () => 'hold'
  const started = performance.now()
  const calls = [claimOne(store, 'a', part('row')), store.look(addresses(['x'])), store.stats(), store.renew([])]
  const outcomes = await Promise.allSettled(calls)
  expect(performance.now() - started).toBeLessThan(1200)
  for (const [index, outcome] of outcomes.entries()) {
    // A claim is on its way with its COMMIT.
    const reason = { kind: 'unreachable', answerLost: index === 0 }
    expect(outcome).toMatchObject({ status: 'rejected', reason })
  }
  await expect(store.look(addresses(['x']))).rejects.toMatchObject({ kind: 'unreachable' })
  proxy.decide = () => 'pass'
  await until(
    'the store serves again',
    async () => (await store.look(addresses(['x'])).catch(() => undefined)) !== undefined,
  )
  await proxy.close()
})

test('a store opens while its database is down, says so when asked, and serves once it is up', async () => {
  const proxy = await startStoreProxy(mysqlUrl())
  proxy.decide = () => 'cut'
  const store = await world.open({ url: proxy.url, timeoutMs: 2000 })
  await expect(store.look(addresses(['x']))).rejects.toMatchObject({ kind: 'unreachable' })
  await proxy.close()
  await expect(store.look(addresses(['x']))).rejects.toMatchObject({
    kind: 'unreachable',
    cause: { code: 'ECONNREFUSED' },
  })
  await expect(store.migrate()).rejects.toMatchObject({ kind: 'unreachable' })
})

test('what trying again does not mend is an error of the set-up, which says what to do and no password', async () => {
  const settings = { tablePrefix: world.tablePrefix, timeoutMs: 5000 }
  for (const url of ['nonsense', 'http://host/db', 'mysql://host', 'mysql://u:secret@host/']) {
    await expect(mysqlStore(url, settings), url).rejects.toMatchObject({ kind: 'setup' })
  }
  await expect(mysqlStore(mysqlUrl(), { ...settings, tablePrefix: 'a`b' })).rejects.toMatchObject({ kind: 'setup' })
  const wrong = [
    { change: { password: 'wrong-secret' }, text: /refuses the user or the password/ },
    { change: { pathname: '/no_such_database' }, text: /CREATE DATABASE/ },
  ]
  for (const { change, text } of wrong) {
    const url: URL = Object.assign(new URL(mysqlUrl()), change)
    const store = await mysqlStore(url.href, settings)
    const error = await store.look(addresses(['x'])).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ kind: 'setup', message: expect.stringMatching(text) })
    expect(String(error)).not.toContain('secret')
    await store.close()
  }
  const bare = await mysqlStore(mysqlUrl(), { ...settings, tablePrefix: `${world.tablePrefix}no_` })
  await expect(bare.look(addresses(['x']))).rejects.toMatchObject({
    kind: 'setup',
    message: expect.stringMatching(/migrate/),
  })
  await expect(bare.checkSchema()).rejects.toMatchObject({ kind: 'setup' })
  await bare.close()
})

/** A pool whose owner has turned every option the other way. */
const HOSTILE = {
  uri: mysqlUrl(),
  connectionLimit: 3,
  dateStrings: true,
  bigNumberStrings: true,
  supportBigNumbers: true,
  rowsAsArray: false,
  nestTables: true,
  namedPlaceholders: true,
  timezone: '+05:00',
  typeCast: () => 'nonsense',
} as const

const SESSION_SETTINGS = `SELECT @@autocommit, @@time_zone, @@sql_mode, @@innodb_lock_wait_timeout, @@lock_wait_timeout`

test.each([
  ['promise', () => createPool(HOSTILE)],
  ['callback', () => createCallbackPool(HOSTILE)],
])(
  "the user's own pool (%s flavour) serves, whatever its options, and gets nothing of ours back",
  async (_, makePool) => {
    const pool = makePool()
    const promisePool = 'promise' in pool ? pool.promise() : pool
    const asBytes = {
      sql: SESSION_SETTINGS,
      typeCast: (field: { string(): unknown }) => field.string(),
      nestTables: false,
    }
    const before = (await promisePool.query(asBytes as never))[0]
    const store = await mysqlStore(pool satisfies MysqlPool, { tablePrefix: world.tablePrefix, timeoutMs: 5000 })
    expect(await store.migrate()).toEqual([])
    const wanted = part('row ☎', 'message 🐘')
    const token = tokenOf(await claimOne(store, 'a', wanted))
    expect(
      await store.renew([{ owner: 'a', rows: [{ key: 'row ☎', fencingToken: token }], staleAfterMs: 9000 }]),
    ).toEqual([[true]])
    expect(await store.sessions({ limit: 1 })).toMatchObject([
      { key: 'row ☎', owner: 'a', messageKeys: ['message 🐘'] },
    ])
    expect(await store.settle([settlementOf('a', wanted, token)])).toEqual(['settled'])
    await store.close()

    const borrowed = await Promise.all([1, 2, 3].map(() => promisePool.getConnection()))
    for (const connection of borrowed) {
      expect((await connection.query(asBytes as never))[0]).toEqual(before)
      connection.release()
    }
    await promisePool.end()
  },
)

test('a pool that is too small is an error in time, not a hang', async () => {
  const pool = createPool({ uri: mysqlUrl(), connectionLimit: 1 })
  const store = await mysqlStore(pool, { tablePrefix: world.tablePrefix, timeoutMs: 500 })
  await store.look(addresses(['x']))
  await expect(store.renew([])).rejects.toMatchObject({ kind: 'unreachable', message: expect.stringMatching(/pool/) })
  await store.close()
  await pool.end()
})

test('of twenty nodes that make the tables at once, one does', async () => {
  const tablePrefix = `${world.tablePrefix}boot_`
  const stores = await Promise.all(
    Array.from({ length: 20 }, () => mysqlStore(mysqlUrl(), { tablePrefix, timeoutMs: 10_000 })),
  )
  const applied = await Promise.all(stores.map((store) => store.migrate()))
  expect(applied.flat()).toEqual((await readMigrations('mysql', tablePrefix)).map(({ name }) => name))
  const connection = await world.connect()
  const ledger = `${tablePrefix}migrations`
  await connection.query(`INSERT INTO ${ledger} VALUES (99, 'later', UTC_TIMESTAMP(6))`)
  const tooNew = { kind: 'setup', message: expect.stringMatching(/version 99/) }
  await expect(stores[0]?.migrate()).rejects.toMatchObject(tooNew)
  await expect(stores[0]?.checkSchema()).rejects.toMatchObject(tooNew)
  await Promise.all(stores.map((store) => store.close()))
})

test('three processes, sixty claimers, twenty sessions: no overlap, and tokens only grow', async () => {
  const stores = await Promise.all([world.open(), world.open(), world.open()])
  const holders = new Map<string, string>()
  const lastTokens = new Map<string, number>()
  const handled = new Map<string, number>()
  const until5s = performance.now() + 5000

  async function claimer(index: number): Promise<void> {
    const store = stores[index % 3]
    for (let turn = 0; store && performance.now() < until5s; turn++) {
      const row = `session-${Math.floor(Math.random() * 20)}`
      const owner = `${index}-${turn}`
      const wanted = part(row, `${row}-message-${Math.floor(turn / 2)}`)
      const verdict = await claimOne(store, owner, wanted).catch((error: { kind: string }) => {
        expect(error.kind).toBe('conflict')
      })
      if (verdict?.outcome !== 'acquired') continue
      expect(holders.get(row)).toBeUndefined()
      holders.set(row, owner)
      expect(verdict.fencingToken).toBeGreaterThan(lastTokens.get(row) ?? 0)
      lastTokens.set(row, verdict.fencingToken)
      const message = wanted.messages[0]?.key ?? ''
      expect(handled.get(message)).toBeUndefined()
      const outcome = Math.random() < 0.8 ? 'completed' : 'failed'
      await sleep(Math.random() * 5)
      if (outcome === 'completed') handled.set(message, verdict.fencingToken)
      holders.delete(row)
      const settlement = settlementOf(owner, wanted, verdict.fencingToken, outcome)
      await until('it is settled', () =>
        store.settle([settlement]).then(
          ([settled]) => settled !== 'lost',
          (error: { kind: string }) => error.kind !== 'conflict',
        ),
      )
    }
  }

  await Promise.all(Array.from({ length: 60 }, (_, index) => claimer(index)))
  expect(handled.size).toBeGreaterThan(50)
  const [store] = stores
  expect(await store?.sessions({ limit: 99 })).toEqual([])
  expect((await store?.stats())?.messages.completed).toBe(handled.size)
})

test('a batch takes one round trip where everybody is new, and one to settle', async () => {
  const proxy = await startStoreProxy(mysqlUrl())
  const store = await world.open({ url: proxy.url })
  await store.look(addresses(['warm']))
  await store.renew([])
  const seen: string[] = []
  proxy.decide = (text) => {
    seen.push(text.slice(5, 11))
    return 'pass'
  }
  const ask = async (tries: number) => {
    seen.length = 0
    const claims = [1, 2, 3].map((index) =>
      claimOf(`o${tries}-${index}`, [part(`row-${tries}-${index}`, `m-${tries}-${index}`)]),
    )
    return { claims, verdicts: await store.claim(claims), trips: [...seen] }
  }
  let asked = await ask(0)
  // Where the server was slow, one of them may have waited for a lock, and the store looks once more.
  for (let tries = 1; tries < 20 && asked.trips.length > 1; tries += 1) asked = await ask(tries)
  const { claims, verdicts, trips } = asked
  expect(trips).toEqual(['INSERT'])
  seen.length = 0
  const settlements = claims.map(({ owner, parts: [wanted] }, index) =>
    settlementOf(owner, wanted ?? part('none'), tokenOf(verdicts[index]?.[0])),
  )
  expect(await store.settle(settlements)).toEqual(['settled', 'settled', 'settled'])
  expect(seen).toEqual(['DELETE'])
  await proxy.close()
})
