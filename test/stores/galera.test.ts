/** MariaDB as a Galera cluster: three nodes that take writes at once, and each holder is the only one all the same. */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Connection, createConnection, type RowDataPacket } from 'mysql2/promise'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createBatches } from '../../src/engine/batches.ts'
import { nodePort } from '../../src/engine/port.ts'
import { createSessionLock } from '../../src/index.ts'
import { readMigrations } from '../../src/store/migrate.ts'
import { mysqlStore } from '../../src/store/mysql.ts'
import { applyMigrations } from '../../src/store/mysql-migrate.ts'
import { urlSource } from '../../src/store/mysql-source.ts'
import { tableNames } from '../../src/store/mysql-statements.ts'
import type { Claim, ClaimVerdict, Settlement, SettlementVerdict, Store } from '../../src/store/store.ts'
import { storeConformance } from '../../src/testing/index.ts'
import { type Galera, startGalera } from '../servers/galera.ts'
import { claimOf, claimOne, part, settlementOf, tokenOf } from './mysql-world.ts'
import { startStoreProxy } from './store-proxy.ts'

vi.setConfig({ testTimeout: 60_000 })

const TIMES = 1000
/** So many of the thousand are under way at once, which share batches. */
const LANES = 20

/** A step after all of ours. */
const MORE = { version: 9999, name: '9999_more' }

let cluster: Galera
let urls: readonly string[]

beforeAll(async () => {
  cluster = await startGalera()
  urls = cluster.nodes.map((node) => node.url)
}, 120_000)
afterAll(() => cluster?.stop())

let handles = 0
storeConformance({
  name: 'galera',
  test,
  queue: true,
  openStore: (settings) => mysqlStore(urls[handles++ % 3] ?? '', settings),
})

test('claims of one session on two nodes at the same instant, 1 000 times: one holder each time', async () => {
  const bots = await openBots()
  const winners = new Map<string, string>()
  await inLanes(async (round) => {
    const row = `session-${round}`
    const claims = [0, 1].map((who) => claimOf(`${round}-${who}`, [part(row, `message-${round}`)]))
    const verdicts = await Promise.all(
      claims.map((claim, who) => (bots[(round + who) % 3] as Bot).claims.submit(claim)),
    )
    const outcomes = verdicts.map((verdict) => verdict?.[0]?.outcome)
    expect([...outcomes].sort()).toEqual(['acquired', 'held'])
    winners.set(row, claims[outcomes.indexOf('acquired')]?.owner ?? '')
  })
  for (const { store } of bots) {
    const rows = await store.sessions({ limit: TIMES + 1 })
    expect(new Map(rows.map(({ key, owner }) => [key, owner]))).toEqual(winners)
  }
  await closeBots(bots)
})

test('claim through one node, renew and settle through the others, 1 000 times: none refused', async () => {
  const bots = await openBots()
  const [connection] = await connections()
  await connection?.query('CREATE TABLE much (id INT NOT NULL PRIMARY KEY)')
  await inLanes(async (round) => {
    // Once, the nodes that settle have a lot to catch up on.
    if (round === 450) await connection?.query('INSERT INTO much SELECT seq FROM seq_1_to_100000')
    const wanted = part(`session-${round}`, `message-${round}`)
    const [first, second, third] = [0, 1, 2].map((who) => bots[(round + who) % 3] as Bot)
    const verdict = await first?.claims.submit(claimOf(`${round}`, [wanted]))
    const fencingToken = tokenOf(verdict?.[0])
    const rows = [{ key: `session-${round}`, fencingToken }]
    if (round % 4 === 0) {
      expect(await second?.store.renew([{ owner: `${round}`, rows, staleAfterMs: 30_000 }])).toEqual([[true]])
    }
    expect(await third?.settlements.submit(settlementOf(`${round}`, wanted, fencingToken))).toBe('settled')
  })
  const [bot] = bots
  expect(await bot?.store.sessions({ limit: 9 })).toEqual([])
  expect((await bot?.store.stats())?.messages.completed).toBe(TIMES)
  await connection?.end()
  await closeBots(bots)
})

test('a hot session beside quiet ones, on three nodes: no overlap, growing tokens, and nobody sees a deadlock', async () => {
  const tablePrefix = newPrefix()
  const errors: unknown[] = []
  const locks = urls.map((store, index) => {
    const lock = createSessionLock({ store, tablePrefix, nodeId: `node-${index}`, logger: false, lockWaitMs: 60_000 })
    return lock.on('store_error', ({ error }) => errors.push(error))
  })
  let inside = 0
  let lastToken = 0
  const claimer = async (index: number, session: string, times: number) => {
    for (let turn = 0; turn < times; turn++) {
      const messageId = `${session}-${index}-${turn}`
      const result = await locks[index % 3]?.run({ session, messageId }, async ({ fencingToken }) => {
        if (session !== 'hot') return
        expect(++inside).toBe(1)
        expect(fencingToken).toBeGreaterThan(lastToken)
        lastToken = fencingToken
        await sleep(1)
        inside -= 1
      })
      expect(result?.status).toBe('processed')
    }
  }
  const twelve = Array.from({ length: 12 }, (_, index) => index)
  await Promise.all(twelve.flatMap((index) => [claimer(index, 'hot', 5), claimer(index, `quiet-${index}`, 20)]))
  expect(errors).toEqual([])
  expect(await locks[0]?.sessions()).toEqual([])
  expect((await locks[1]?.stats())?.messages.completed).toBe(12 * 25)
  await Promise.all(locks.map((lock) => lock.close()))
})

test('bots that clean up through every node at once remove each message once, and none of them sees a deadlock', async () => {
  const tablePrefix = newPrefix()
  const locks = urls.map((store) => createSessionLock({ store, tablePrefix, logger: false, retentionMs: 1 }))
  for (let round = 0; round < 10; round++) {
    const messages = Array.from({ length: 100 }, (_, index) => ({ messageId: `message-${round}-${index}` }))
    await Promise.all(
      messages.map((message, index) => (locks[index % 3] as (typeof locks)[number]).run(message, () => undefined)),
    )
    const removed = await Promise.all(locks.map((lock) => lock.cleanup()))
    expect(removed.reduce((sum, report) => sum + report.messages, 0)).toBe(100)
  }
  await Promise.all(locks.map((lock) => lock.close()))
})

test('bots that start at once through every node make the tables and the ledger once, whatever the steps', async () => {
  for (let round = 0; round < 3; round++) {
    const tablePrefix = newPrefix()
    const names = tableNames(tablePrefix)
    const statements = [
      `CREATE TABLE ${tablePrefix}more (id INT NOT NULL PRIMARY KEY)`,
      `ALTER TABLE ${names.sessions} ADD COLUMN more INT NULL, ADD KEY ${tablePrefix}more (more)`,
      `ALTER TABLE ${names.messages} DROP COLUMN payload`,
      `INSERT IGNORE INTO ${names.migrations} VALUES (${MORE.version}, '${MORE.name}', UTC_TIMESTAMP(6))`,
    ]
    const migrations = [...(await readMigrations('mysql', tablePrefix)), { ...MORE, statements }]
    const sources = await Promise.all([...urls, ...urls].map((url) => urlSource(url)))
    const applied = await Promise.all(sources.map((source) => applyMigrations(source, names, migrations, 10_000)))
    expect(applied.flat().sort()).toEqual(migrations.map(({ name }) => name))
    for (const connection of await connections()) {
      await connection.query('SET wsrep_sync_wait = 7')
      const [rows] = await connection.query<RowDataPacket[]>(`SELECT version FROM ${names.migrations} ORDER BY version`)
      expect(rows.map(({ version }) => version)).toEqual(migrations.map(({ version }) => version))
      await connection.query(`SELECT more FROM ${names.sessions}`)
      await connection.end()
    }
  }
})

test('a node that is out of its cluster says what to do, and the next connection may lead to another node', async () => {
  const proxy = await startStoreProxy(urls[0] ?? '')
  const store = await mysqlStore(proxy.url, { tablePrefix: newPrefix(), timeoutMs: 5000 })
  await store.migrate()
  await store.look([{ key: 'warm', home: 'warm' }])
  const [connection] = await connections()
  // What a node answers also while it is cut off or has to catch up.
  await connection?.query('SET GLOBAL wsrep_reject_queries = ALL')
  await expect(claimOne(store, 'a', part('row'))).rejects.toMatchObject({
    kind: 'unreachable',
    answerLost: false,
    message: expect.stringMatching(/out of its Galera cluster.*Synced/),
  })
  proxy.target = urls[1] ?? ''
  expect(tokenOf(await claimOne(store, 'a', part('row')))).toBeGreaterThan(0)
  await connection?.query('SET GLOBAL wsrep_reject_queries = NONE')
  await store.close()
  await proxy.close()
})

test('a node is asked statement by statement: one that undoes a transaction within a text would leave it unanswered', async () => {
  const proxy = await startStoreProxy(urls[0] ?? '')
  const store = await mysqlStore(proxy.url, { tablePrefix: newPrefix(), timeoutMs: 5000 })
  await store.migrate()
  const texts: string[] = []
  proxy.decide = (text) => {
    texts.push(text)
    return 'pass'
  }
  expect(tokenOf(await claimOne(store, 'a', part('row', 'message')))).toBeGreaterThan(0)
  expect(texts.filter((text) => text.includes('INSERT'))).toHaveLength(1)
  expect(texts.filter((text) => text.includes('INSERT') && text.includes('COMMIT'))).toEqual([])
  await store.close()
  await proxy.close()
})

test('the strategy transaction is refused, with the reason and the way out', async () => {
  const lock = createSessionLock({ store: urls[0], tablePrefix: newPrefix(), strategy: 'transaction', logger: false })
  await expect(lock.ready()).rejects.toMatchObject({ kind: 'setup', message: expect.stringMatching(/Galera.*'lease'/) })
  await lock.close()
})

/** A bot's store, and the batches that the engine writes to it. */
interface Bot {
  readonly store: Store
  readonly claims: ReturnType<typeof createBatches<Claim, ClaimVerdict>>
  readonly settlements: ReturnType<typeof createBatches<Settlement, SettlementVerdict>>
}

/** One on each node. */
async function openBots(): Promise<Bot[]> {
  const tablePrefix = newPrefix()
  const stores = await Promise.all(urls.map((url) => mysqlStore(url, { tablePrefix, timeoutMs: 10_000 })))
  await Promise.all(stores.map((store) => store.migrate()))
  const limits = { port: nodePort, maxItems: 128, fullAt: 32, conflictsForMs: 10_000 }
  return stores.map((store) => ({
    store,
    claims: createBatches<Claim, ClaimVerdict>({
      ...limits,
      write: (claims) => store.claim(claims),
      addKeys: (claim, keys) => keys.push(claim.owner),
    }),
    settlements: createBatches<Settlement, SettlementVerdict>({
      ...limits,
      write: (settlements) => store.settle(settlements),
      addKeys: (settlement, keys) => keys.push(settlement.owner),
    }),
  }))
}

async function closeBots(bots: readonly Bot[]): Promise<void> {
  await Promise.all(bots.map(({ store }) => store.close()))
}

async function inLanes(work: (round: number) => Promise<void>): Promise<void> {
  let rounds = 0
  const lane = async () => {
    while (rounds < TIMES) await work(rounds++)
  }
  await Promise.all(Array.from({ length: LANES }, lane))
}

function connections(): Promise<Connection[]> {
  return Promise.all(urls.map((url) => createConnection(url)))
}

function newPrefix(): string {
  return `t${randomBytes(6).toString('hex')}_`
}
