/** Nothing is lost when a notification is: who waits for another process asks again by himself. */
import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { Client } from 'pg'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { createSessionLock, type SessionLock, type SessionLockOptions } from '../../src/index.ts'
import { startRedis } from '../servers/redis.ts'
import type { TestServer } from '../servers/server.ts'
import { until } from './mysql-world.ts'
import { dropPostgresTables, postgresUrl } from './postgres-tables.ts'
import { startStoreProxy as startProxy } from './store-proxy.ts'

/** A database that tells when rows are free, and ways to keep it from that. */
interface Database {
  readonly url: string
  /** How many connections listen. */
  listening(): Promise<number>
  /** Cuts those that listen. */
  cutListening(): Promise<void>
  /** From now on nobody is told anything, and nobody is told that either. */
  fallSilent(): Promise<void>
  close(): Promise<void>
}

let tablePrefix: string
beforeEach(() => {
  tablePrefix = `n${randomBytes(6).toString('hex')}_`
})

async function onPostgres(): Promise<Database> {
  const admin = new Client({ connectionString: postgresUrl() })
  await admin.connect()
  const pids = async () => {
    const sql = "SELECT pid FROM pg_stat_activity WHERE state = 'idle' AND query = $1"
    return (await admin.query(sql, [`LISTEN "${tablePrefix}released"`])).rows.map(({ pid }) => pid)
  }
  return {
    url: postgresUrl(),
    listening: async () => (await pids()).length,
    async cutListening() {
      await admin.query('SELECT pg_terminate_backend(pid) FROM unnest($1::integer[]) AS pid', [await pids()])
    },
    async fallSilent() {
      await admin.query(
        `CREATE OR REPLACE FUNCTION ${tablePrefix}tell(row_keys bytea[]) RETURNS void LANGUAGE sql AS ''`,
      )
    },
    async close() {
      await admin.end()
      await dropPostgresTables(new Set([tablePrefix]))
    },
  }
}

async function onRedis(): Promise<Database> {
  const server: TestServer = await startRedis()
  const admin = new Redis(server.url)
  return {
    url: server.url,
    listening: async () => Number((await admin.pubsub('NUMSUB', `${tablePrefix}released`))[1]),
    cutListening: async () => void (await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub')),
    // What may not be published is refused, and the script that publishes goes on.
    fallSilent: async () => void (await admin.acl('SETUSER', 'default', 'resetchannels')),
    async close() {
      admin.disconnect()
      await server.stop()
    },
  }
}

describe.each([
  ['postgres', onPostgres],
  ['redis', onRedis],
])('%s', (_, open) => {
  let database: Database
  beforeEach(async () => {
    database = await open()
  })
  afterEach(() => database.close())

  function lockOf(options: SessionLockOptions = {}): SessionLock {
    const lock = createSessionLock({ store: database.url, tablePrefix, logger: false, lockWaitMs: 5000, ...options })
    onTestFinished(() => lock.close())
    return lock
  }

  /** Another process holds the session while this one comes to want it, and `before` happens; then it is released. */
  async function handOver(holder: SessionLock, waiter: SessionLock, before: () => Promise<void> = async () => {}) {
    let release: () => void = () => undefined
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const holding = holder.run({ session: 'wanted' }, () => released)
    await until('it is held', async () => (await holder.sessions()).length === 1)
    const waiting = waiter.run({ session: 'wanted' }, () => undefined)
    await until('it is waited for', async () => (await holder.sessions()).some(({ contended }) => contended))
    await before()
    release()
    await holding
    return waiting
  }

  const listens = (count: number) => until(`${count} listen`, async () => (await database.listening()) === count)

  test('a listening connection that is cut just before', async () => {
    const [holder, waiter] = [lockOf({ listen: false }), lockOf()]
    await Promise.all([holder.ready(), waiter.ready()])
    await listens(1)
    expect(await handOver(holder, waiter)).toMatchObject({ status: 'processed' })
    expect(await handOver(holder, waiter, () => database.cutListening())).toMatchObject({ status: 'processed' })
  })

  test('a database that falls silent', async () => {
    const [holder, waiter] = [lockOf({ listen: false }), lockOf()]
    await Promise.all([holder.ready(), waiter.ready()])
    await listens(1)
    for (let times = 0; times < 3; times += 1) await handOver(holder, waiter)
    await database.fallSilent()
    for (let times = 0; times < 3; times += 1) {
      expect(await handOver(holder, waiter)).toMatchObject({ status: 'processed' })
    }
  })

  test('no listening connection is to be had', async () => {
    const proxy = await startProxy(database.url)
    onTestFinished(() => proxy.close())
    let tries = 0
    proxy.decide = (text) => {
      if (!/LISTEN "|subscribe/i.test(text)) return 'pass'
      tries += 1
      return 'cut'
    }
    const [holder, waiter] = [lockOf({ listen: false }), lockOf({ store: proxy.url })]
    expect(await handOver(holder, waiter)).toMatchObject({ status: 'processed' })
    expect(tries).toBeGreaterThan(0)
  })

  test('none is wanted: the option listen is false', async () => {
    const [holder, waiter] = [lockOf({ listen: false }), lockOf({ listen: false })]
    expect(await handOver(holder, waiter)).toMatchObject({ status: 'processed' })
    expect(await database.listening()).toBe(0)
  })
})
