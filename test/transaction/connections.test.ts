/** The connections of handlers' transactions: whose they are, how they are lost, and an answer to COMMIT that never came. */
import { createPool as createCallbackPool } from 'mysql2'
import { createPool } from 'mysql2/promise'
import { Pool } from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { createSessionLock, OptionsError, type StoreSource } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'
import { mysqlUrl } from '../stores/mysql-tables.ts'
import { postgresUrl } from '../stores/postgres-tables.ts'
import { type Fate, startStoreProxy } from '../stores/store-proxy.ts'
import { createWorld, databases, mariadb, postgres, rowsOf } from './world.ts'

const key = { messageId: 'm1', prospect: '4917', device: 'bot' }

describe.each(databases)('$name', (database) => {
  /** A lock behind a proxy that does this, once, to the COMMIT of the handler's transaction. */
  async function behindProxy(fate: Fate) {
    const world = await createWorld(database)
    const proxy = await startStoreProxy(database.url())
    onTestFinished(() => proxy.close())
    const lock = world.lock({ store: proxy.url, storeTimeoutMs: 3000 })
    const events: string[] = []
    for (const name of ['released', 'failed', 'lease_lost'] as const) lock.on(name, () => events.push(name))
    let isDone = false
    const run = () =>
      lock.run(key, async (lease) => {
        await lease.tx.query(world.add)
        proxy.decide = (text) => {
          if (isDone || !text.includes('COMMIT')) return 'pass'
          isDone = true
          return fate
        }
        return 'value'
      })
    return { world, lock, run, events }
  }

  test('the answer to COMMIT is lost: it is found out that the message is completed, and told so', async () => {
    const { world, lock, run, events } = await behindProxy('pass-then-cut')
    expect(await run()).toMatchObject({ status: 'processed', value: 'value' })
    expect(events).toEqual(['released'])
    expect(await world.balance()).toBe(1)
    expect(await lock.messages()).toMatchObject([{ status: 'completed', attempts: 1 }])
    expect(await run()).toEqual({ status: 'duplicate', of: 'completed' })
    expect(await lock.sessions()).toEqual([])
  })

  test.each(['cut', 'hold'] as const)(
    'a COMMIT that never arrives (%s): rolled back, failed, handled again',
    async (fate) => {
      const { world, lock, run, events } = await behindProxy(fate)
      const errors: string[] = []
      lock.on('store_error', ({ during, kind }) => errors.push(`${during}: ${kind}`))
      await expect(run()).rejects.toMatchObject({ kind: 'unreachable', answerLost: true })
      expect(errors).toContain('commit a transaction: unreachable')
      expect(events).toEqual(['failed'])
      expect(await world.balance()).toBe(0)
      expect(await lock.messages()).toMatchObject([{ status: 'failed', attempts: 1 }])
      expect(await run()).toMatchObject({ status: 'processed' })
      expect(await world.balance()).toBe(1)
    },
  )

  test('connections are used again, and one that the server has closed meanwhile is replaced', async () => {
    const world = await createWorld(database)
    const lock = world.lock()
    const idOf = async () => {
      const result = await lock.run({ session: 'any' }, (lease) => rowsOf(lease.tx, database.connectionId))
      return result.status === 'processed' ? result.value[0]?.['id'] : undefined
    }
    const first = await idOf()
    expect(await idOf()).toBe(first)
    await world.bare.query(database.kill(first))
    const second = await idOf()
    expect(second).toEqual(expect.any(Number))
    expect(second).not.toBe(first)
  })

  test('a lock that closes ends the transactions that wait, and those of handlers that run on', async () => {
    const world = await createWorld(database)
    const [first, second] = [world.lock({ closeTimeoutMs: 50 }), world.lock({ lockWaitMs: 20_000 })]
    let aborted: unknown
    let enter: () => void = () => undefined
    const entered = new Promise<void>((resolve) => (enter = resolve))
    const holding = first.run(key, async (lease) => {
      await lease.tx.query(world.add)
      enter()
      await new Promise((resolve) => lease.signal.addEventListener('abort', resolve))
      aborted = lease.signal.reason
    })
    holding.catch(() => undefined)
    await entered
    const waiting = second.run({ ...key, messageId: 'm2' }, () => 'never')
    waiting.catch(() => undefined)
    await world.untilBlocked()
    await second.close()
    await expect(waiting).rejects.toMatchObject({ code: 'CLOSED' })
    await first.close()
    await expect(holding).rejects.toMatchObject({ loss: 'connection' })
    expect(aborted).toMatchObject({ loss: 'connection' })
    expect(await world.balance()).toBe(0)
    expect(await world.lock().run(key, () => 'again')).toMatchObject({ status: 'processed', takeover: true })
  })
})

const pools: ReadonlyArray<readonly [string, () => { store: StoreSource; end(): unknown; size(): number }]> = [
  [
    'mysql2, promises',
    () => {
      const pool = createPool({ uri: mysqlUrl(), connectionLimit: 3 })
      const { _allConnections: all } = pool.pool as unknown as { _allConnections: { length: number } }
      return { store: pool, end: () => pool.end(), size: () => all.length }
    },
  ],
  [
    'mysql2, callbacks',
    () => {
      const pool = createCallbackPool({ uri: mysqlUrl(), connectionLimit: 3 })
      const { _allConnections: all } = pool as unknown as { _allConnections: { length: number } }
      return { store: pool, end: () => pool.end(() => undefined), size: () => all.length }
    },
  ],
  [
    'pg',
    () => {
      const pool = new Pool({ connectionString: postgresUrl(), max: 4 })
      return { store: pool, end: () => pool.end(), size: () => pool.totalCount }
    },
  ],
]

test.each(pools)('a pool of %s: handlers have connections of their own beside it', async (name, open) => {
  const database = name === 'pg' ? postgres : mariadb
  const world = await createWorld(database)
  const pool = open()
  onTestFinished(async () => void (await pool.end()))
  const lock = world.lock({ store: pool.store })
  await lock.ready()
  const before = pool.size()
  const ids = await Promise.all(
    ['a', 'b', 'c', 'd', 'e'].map((session) =>
      lock.run({ session }, async (lease) => {
        await lease.tx.query(world.add)
        return (await rowsOf(lease.tx, database.connectionId))[0]?.['id']
      }),
    ),
  )
  expect(new Set(ids.map((result) => result.status))).toEqual(new Set(['processed']))
  expect(await world.balance()).toBe(5)
  // Its second connection settles, and on Postgres its third listens.
  expect(pool.size()).toBeLessThanOrEqual(before + 1)
  await lock.close()
})

test('a pool that does not show how it connects is refused, with the way out', async () => {
  const pool = createPool({ uri: mysqlUrl(), connectionLimit: 3 })
  const world = await createWorld(mariadb)
  const lock = world.lock({ store: { getConnection: () => pool.getConnection() } as unknown as StoreSource })
  await expect(lock.ready()).rejects.toMatchObject({
    kind: 'setup',
    message: expect.stringMatching(/Give the store a URL/),
  })
  await lock.close()
  await pool.end()
})

test('stores without transactions are refused at start, and so is what contradicts the strategy', () => {
  const settings = { tablePrefix: 't_', timeoutMs: 1000 }
  for (const store of [undefined, 'memory:', 'sqlite::memory:', 'redis://localhost', memoryStore(settings)]) {
    expect(() => createSessionLock({ store, strategy: 'transaction' })).toThrow(OptionsError)
    expect(() => createSessionLock({ store, strategy: 'transaction' })).toThrow(/MySQL, MariaDB or Postgres/)
  }
  const store = 'mysql://localhost/bot'
  expect(() => createSessionLock({ store, strategy: 'transaction', onStoreError: 'allow' })).toThrow(/onStoreError/)
  expect(() => createSessionLock({ store, strategy: 'transaction', maxTransactions: 0 })).toThrow(/maxTransactions/)
})

test('with the strategy lease there is no transaction', async () => {
  const world = await createWorld(mariadb)
  const lock = world.lock({ strategy: 'lease' })
  expect(await lock.run(key, (lease) => typeof lease.tx)).toMatchObject({ value: 'undefined' })
})
