/** The Postgres store's connections: losses, time limits, wrong URLs, poolers, the user's own pool. */
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readMigrations } from '../../src/store/migrate.ts'
import { openStore } from '../../src/store/open.ts'
import { type PostgresPool, type PostgresPoolClient, postgresStore } from '../../src/store/postgres.ts'
import { claimOne, part, settlementOf, tokenOf, until } from './mysql-world.ts'
import { postgresUrl } from './postgres-tables.ts'
import { type PostgresWorld, postgresWorld } from './postgres-world.ts'
import { addresses } from './store-items.ts'
import { startStoreProxy as startProxy } from './store-proxy.ts'

let world: PostgresWorld
let rejected: unknown[]
const noteRejection = (reason: unknown) => rejected.push(reason)

beforeEach(async () => {
  rejected = []
  process.on('unhandledRejection', noteRejection)
  world = await postgresWorld()
})
afterEach(async () => {
  await world.close()
  process.off('unhandledRejection', noteRejection)
  expect(rejected).toEqual([])
})

test('a connection killed in the middle of a claim: the claim may have been written, the next one is served', async () => {
  const store = await world.open()
  const holder = await world.connect()
  await claimOne(store, 'a', part('row'))
  await holder.query('BEGIN')
  await holder.query(`DELETE FROM ${world.names.sessions} WHERE session_key = 'row'`)
  const claiming = claimOne(store, 'b', part('row')).catch((reason: unknown) => reason)
  const pid = await world.untilSomeoneWaits('claim')
  await holder.query('SELECT pg_terminate_backend($1)', [pid])
  expect(await claiming).toMatchObject({ kind: 'unreachable', answerLost: true })
  await holder.query('COMMIT')
  expect(tokenOf(await claimOne(store, 'b', part('row')))).toBeGreaterThan(0)
})

test('while claims hang on a lock, leases in hand are renewed and settled', async () => {
  const store = await world.open()
  const holder = await world.connect()
  const token = tokenOf(await claimOne(store, 'a', part('row', 'message')))
  await claimOne(store, 'x', part('other'), 1)
  await holder.query('BEGIN')
  await holder.query(`DELETE FROM ${world.names.sessions} WHERE session_key = 'other'`)
  const claiming = claimOne(store, 'b', part('other'))
  await world.untilSomeoneWaits('claim')
  const rows = [{ key: 'row', fencingToken: token }]
  expect(await store.renew([{ owner: 'a', rows, staleAfterMs: 9000 }])).toEqual([[true]])
  expect(await store.settle([settlementOf('a', part('row', 'message'), token)])).toEqual(['settled'])
  await holder.query('COMMIT')
  expect(await claiming).toMatchObject({ outcome: 'acquired' })
})

test('idle connections that the server closed are replaced', async () => {
  const proxy = await startProxy(postgresUrl())
  const store = await world.open({ url: proxy.url })
  const token = tokenOf(await claimOne(store, 'a', part('row')))
  await store.release(['nobody'])
  proxy.cutAll()
  // The loss is told by an event, with no call under way; none is to fail for it afterwards.
  await sleep(200)
  expect(await store.look(addresses(['x']))).toEqual([])
  expect(await store.settle([settlementOf('a', part('row'), token)])).toEqual(['settled'])
  await proxy.close()
})

test('a server that no longer answers: every call settles within its limit, and later all is well', async () => {
  const proxy = await startProxy(postgresUrl())
  const store = await world.open({ url: proxy.url, timeoutMs: 700 })
  await store.look(addresses(['warm']))
  proxy.decide = () => 'hold'
  const started = performance.now()
  const calls = [claimOne(store, 'a', part('row')), store.look(addresses(['x'])), store.stats(), store.release(['x'])]
  const outcomes = await Promise.allSettled(calls)
  expect(performance.now() - started).toBeLessThan(1200)
  for (const outcome of outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: { kind: 'unreachable' } })
  // Only the one that was sent may have been written.
  expect(outcomes.map((outcome) => outcome.status === 'rejected' && outcome.reason.answerLost)).toEqual([
    true,
    false,
    false,
    false,
  ])
  await expect(store.look(addresses(['x']))).rejects.toMatchObject({ kind: 'unreachable' })
  proxy.decide = () => 'pass'
  await until(
    'the store serves again',
    async () => (await store.look(addresses(['x'])).catch(() => undefined)) !== undefined,
  )
  await proxy.close()
})

test('a store opens while its database is down, says so when asked, and serves once it is up', async () => {
  const proxy = await startProxy(postgresUrl())
  proxy.decide = () => 'cut'
  const store = await world.open({ url: proxy.url, timeoutMs: 2000 })
  await expect(store.look(addresses(['x']))).rejects.toMatchObject({ kind: 'unreachable', answerLost: false })
  proxy.decide = () => 'pass'
  expect(await store.look(addresses(['x']))).toEqual([])
  proxy.decide = () => 'cut'
  await proxy.close()
  await sleep(100)
  await expect(store.look(addresses(['x']))).rejects.toMatchObject({
    kind: 'unreachable',
    cause: { code: 'ECONNREFUSED' },
  })
  await expect(store.migrate()).rejects.toMatchObject({ kind: 'unreachable' })
})

test('a database that only reads is unreachable, and nothing is lost', async () => {
  const url = new URL(postgresUrl())
  url.searchParams.set('options', '-c default_transaction_read_only=on')
  const store = await world.open({ url: url.href })
  await expect(claimOne(store, 'a', part('row'))).rejects.toMatchObject({ kind: 'unreachable', answerLost: false })
})

test('what trying again does not mend is an error of the set-up, which says what to do and no password', async () => {
  const settings = { tablePrefix: world.tablePrefix, timeoutMs: 5000 }
  for (const url of ['nonsense', 'http://host/db', 'postgres://host', 'postgres://u:secret@host/']) {
    await expect(postgresStore(url, settings), url).rejects.toMatchObject({ kind: 'setup' })
  }
  await expect(postgresStore(postgresUrl(), { ...settings, tablePrefix: 'a"b' })).rejects.toMatchObject({
    kind: 'setup',
  })
  const admin = await world.connect()
  const role = `${world.tablePrefix}role`
  await admin.query(`CREATE ROLE ${role} LOGIN PASSWORD 'secret'`)
  const wrong = [
    { change: { password: 'wrong-secret' }, text: /refuses the user or the password/ },
    { change: { password: '' }, text: /refuses the user or the password/ },
    { change: { pathname: '/no_such_database' }, text: /CREATE DATABASE/ },
    { change: { username: role, password: 'secret' }, text: /lacks a privilege/ },
  ]
  for (const { change, text } of wrong) {
    const url: URL = Object.assign(new URL(postgresUrl()), change)
    const store = await postgresStore(url.href, settings)
    const error = await store.look(addresses(['x'])).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ kind: 'setup', message: expect.stringMatching(text) })
    expect(String(error)).not.toContain('secret')
    await store.close()
  }
  await admin.query(`DROP ROLE ${role}`)
  const bare = await postgresStore(postgresUrl(), { ...settings, tablePrefix: `${world.tablePrefix}no_` })
  await expect(bare.look(addresses(['x']))).rejects.toMatchObject({
    kind: 'setup',
    message: expect.stringMatching(/migrate/),
  })
  await expect(bare.checkSchema()).rejects.toMatchObject({ kind: 'setup' })
  await bare.close()
})

test("the user's own pool serves, whatever parsers it has, and is left open", async () => {
  const types = { getTypeParser: () => () => 'nonsense' } as never
  const pool = new pg.Pool({ connectionString: postgresUrl(), max: 4, types })
  const settings = { tablePrefix: world.tablePrefix, timeoutMs: 5000 }
  const { store, opened } = await openStore(pool satisfies PostgresPool, settings)
  expect(opened).toBe(true)
  expect(await store.migrate()).toEqual([])
  const wanted = part('row ☎', 'message 🐘')
  const token = tokenOf(await claimOne(store, 'a', wanted))
  const rows = [{ key: 'row ☎', fencingToken: token }]
  expect(await store.renew([{ owner: 'a', rows, staleAfterMs: 9000 }])).toEqual([[true]])
  expect(await store.sessions({ limit: 1 })).toMatchObject([{ key: 'row ☎', owner: 'a', messageKeys: ['message 🐘'] }])
  expect(await store.settle([settlementOf('a', wanted, token)])).toEqual(['settled'])
  await store.close()
  expect((await pool.query('SELECT 1')).rows).toHaveLength(1)
  await pool.end()
  expect(pool.totalCount).toBe(0)
  const late = await postgresStore(pool, settings)
  await expect(late.look(addresses(['x']))).rejects.toMatchObject({ kind: 'unreachable', answerLost: false })
  await late.close()
})

test('a pool that is too small is an error in time, not a hang', async () => {
  const pool = new pg.Pool({ connectionString: postgresUrl(), max: 1 })
  const store = await postgresStore(pool, { tablePrefix: world.tablePrefix, timeoutMs: 500 })
  await store.look(addresses(['x']))
  store.listen?.(() => undefined)
  const error = { kind: 'unreachable', message: expect.stringMatching(/pool/), answerLost: false }
  await expect(store.release(['x'])).rejects.toMatchObject(error)
  await store.close()
  await pool.end()
})

/** As a pooler in transaction mode does: each transaction may run on another connection. */
function transactionPooler(clients: readonly pg.Client[]): PostgresPool {
  let turn = 0
  let isOpen = false
  const client: PostgresPoolClient = {
    query(config) {
      const { text } = config as { text: string }
      if (!isOpen) turn += 1
      if (/^(BEGIN|COMMIT)/.test(text)) isOpen = text.startsWith('BEGIN')
      return (clients[turn % clients.length] as pg.Client).query(config as pg.QueryArrayConfig)
    },
    on: () => undefined,
    release: () => undefined,
  }
  return { totalCount: clients.length, connect: async () => client }
}

test('a pooler that gives each transaction another connection serves, and finds nothing left on them', async () => {
  const clients = await Promise.all([1, 2, 3].map(() => world.connect()))
  const settingsOf = async (client: pg.Client) =>
    (await client.query("SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'plpgsql.%' ORDER BY name")).rows
  const before = await settingsOf(clients[0] as pg.Client)
  const tablePrefix = `${world.tablePrefix}pool_`
  const store = await postgresStore(transactionPooler(clients), { tablePrefix, timeoutMs: 5000 })
  expect((await store.migrate()).length).toBeGreaterThan(1)
  for (const name of ['a', 'b', 'c', 'd']) {
    const wanted = part(name, `m ${name}`)
    const token = tokenOf(await claimOne(store, name, wanted))
    expect(await claimOne(store, 'late', wanted)).toMatchObject({ outcome: 'held' })
    expect(await store.settle([settlementOf(name, wanted, token)])).toEqual(['contended'])
  }
  for (const client of clients) expect(await settingsOf(client)).toEqual(before)
  for (const client of clients) expect((await client.query('SELECT 1 FROM pg_prepared_statements')).rows).toEqual([])
  await store.close()
})

test('of twenty nodes that make the tables at once, one does; a later release’s tables are refused', async () => {
  const tablePrefix = `${world.tablePrefix}boot_`
  const stores = await Promise.all(
    Array.from({ length: 20 }, () => postgresStore(postgresUrl(), { tablePrefix, timeoutMs: 10_000 })),
  )
  const applied = await Promise.all(stores.map((store) => store.migrate()))
  expect(applied.flat()).toEqual((await readMigrations('postgres', tablePrefix)).map(({ name }) => name))
  const client = await world.connect()
  await client.query(`INSERT INTO ${tablePrefix}migrations VALUES (99, 'later', now())`)
  const tooNew = { kind: 'setup', message: expect.stringMatching(/version 99/) }
  await expect(stores[0]?.migrate()).rejects.toMatchObject(tooNew)
  await expect(stores[0]?.checkSchema()).rejects.toMatchObject(tooNew)
  await Promise.all(stores.map((store) => store.close()))
})

test('two connections, whatever the load, and one more that listens; none is left after close', async () => {
  const url = new URL(postgresUrl())
  url.searchParams.set('application_name', world.tablePrefix)
  const store = await world.open({ url: url.href })
  const admin = await world.connect()
  const countConnections = async () => {
    const { rows } = await admin.query('SELECT pid FROM pg_stat_activity WHERE application_name = $1', [
      world.tablePrefix,
    ])
    return rows.length
  }
  const claims = Array.from({ length: 50 }, (_, index) => claimOne(store, `o${index}`, part(`row-${index}`)))
  await Promise.all([...claims, store.release(['x']), store.cleanup({ abandonedAfterMs: 0, limit: 10 }), store.stats()])
  expect(await countConnections()).toBe(2)
  store.listen?.(() => undefined)
  await world.untilListening()
  expect(await countConnections()).toBe(3)
  await store.close()
  await until('all are gone', async () => (await countConnections()) === 0)
})
