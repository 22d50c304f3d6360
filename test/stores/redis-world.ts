/** What the Redis store's own tests share: keys of their own, clients beside the store, servers of their own. */
import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { afterEach, beforeEach, expect } from 'vitest'
import { redisStore } from '../../src/store/redis.ts'
import type { Store, StoreError } from '../../src/store/store.ts'
import { startRedis } from '../servers/redis.ts'
import type { TestServer } from '../servers/server.ts'
import { redisUrl, removeKeys } from './redis-keys.ts'

/** What one test has for itself; all of it ends with the test. */
export interface RedisWorld {
  readonly tablePrefix: string
  /** One more handle, as another process would have: on the tests' server unless told otherwise. */
  open(source?: Parameters<typeof redisStore>[0], timeoutMs?: number): Promise<Store>
  /** One that has migrated. */
  openPrepared(source?: Parameters<typeof redisStore>[0], timeoutMs?: number): Promise<Store>
  /** A client beside the store. */
  client(url?: string): Redis
  /** A server that the test may stop, kill or freeze. */
  ownServer(...settings: string[]): Promise<TestServer>
  /** Runs after the test, the last one first. */
  afterwards(end: () => unknown): void
}

/** A fresh world before each test of the file; what is rejected with nobody listening fails the test. */
export function useRedisWorld(): RedisWorld {
  let tablePrefix = ''
  let endings: Array<() => unknown> = []
  let rejected: unknown[] = []
  const noteRejection = (reason: unknown) => rejected.push(reason)
  beforeEach(() => {
    tablePrefix = `r${randomBytes(6).toString('hex')}_`
    endings = []
    rejected = []
    process.on('unhandledRejection', noteRejection)
  })
  afterEach(async () => {
    for (const end of endings.reverse()) await end()
    await removeKeys(new Set([tablePrefix]))
    process.off('unhandledRejection', noteRejection)
    expect(rejected).toEqual([])
  })
  const world: RedisWorld = {
    get tablePrefix() {
      return tablePrefix
    },
    async open(source = redisUrl(), timeoutMs = 5000) {
      const store = await redisStore(source, { tablePrefix, timeoutMs })
      endings.push(() => store.close())
      return store
    },
    async openPrepared(source, timeoutMs) {
      const store = await world.open(source, timeoutMs)
      await store.migrate()
      return store
    },
    client(url = redisUrl()) {
      const made = new Redis(url)
      made.on('error', () => {
        // Some tests end its server.
      })
      endings.push(() => made.disconnect())
      return made
    },
    async ownServer(...settings) {
      const server = await startRedis(settings)
      endings.push(() => server.stop())
      return server
    },
    afterwards: (end) => void endings.push(end),
  }
  return world
}

/** A URL, changed. */
export function urlWith(change: (url: URL) => void, base = redisUrl()): string {
  const url = new URL(base)
  change(url)
  return url.href
}

/** What a call is refused with; that it is not fails the test. */
export async function refusal(call: Promise<unknown>): Promise<StoreError> {
  return call.then(
    () => expect.fail('it was not refused'),
    (error: StoreError) => error,
  )
}
