/** The clean-up in the background: all of what has expired, on one node at a time, and never for long. */
import { EventEmitter, once } from 'node:events'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { CLEANING_KEY, cleanUp } from '../../src/engine/cleaning.ts'
import { createEngine } from '../../src/engine/engine.ts'
import { resolveOptions } from '../../src/engine/options.ts'
import { nodePort } from '../../src/engine/port.ts'
import { createSessionLock, type SessionLockOptions, type Store } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'
import { sqliteStore } from '../../src/store/sqlite.ts'
import { ask, complete, part } from '../../src/testing/asking.ts'
import { untilClockPasses } from '../../src/testing/waiting.ts'
import { makeTemporaryDirectory } from '../processes/guard.ts'

/** More than one batch of the clean-up. */
const EXPIRED = 450

async function storeWithExpired(): Promise<Store> {
  const path = join(makeTemporaryDirectory('cleaning'), 'bot.db')
  const store = await sqliteStore(path, { tablePrefix: 'session_lock_', timeoutMs: 5000 })
  onTestFinished(() => store.close())
  await store.migrate()
  for (let index = 0; index < EXPIRED; index += 1) await complete(store, `m${index}`, { retentionMs: 1 })
  const [latest] = await store.messages({ limit: 1 })
  await untilClockPasses(store, latest?.expiresAt ?? 0)
  return store
}

function nodeOver(store: Store, options: SessionLockOptions) {
  const lock = createSessionLock({ store, logger: false, ...options })
  onTestFinished(() => lock.close())
  void lock.ready()
  return lock
}

/** The same store, which tells of each batch of the clean-up before and after it. */
function watched(store: Store, told: EventEmitter, node: string): Store {
  return Object.assign(Object.create(store), {
    async cleanup(options: Parameters<Store['cleanup']>[0]) {
      told.emit('batch', node, options.limit)
      const report = await store.cleanup(options)
      if (!report.more) told.emit('done', node)
      return report
    },
  })
}

test('several nodes clean up one at a time, each to the end, and hold nothing afterwards', async () => {
  const store = await storeWithExpired()
  const told = new EventEmitter()
  const calls: string[] = []
  told.on('batch', (node) => calls.push(node))
  const done = once(told, 'done')
  for (const nodeId of ['a', 'b', 'c']) nodeOver(watched(store, told, nodeId), { nodeId, cleanupEveryMs: 5 })
  const [first] = await done
  expect(calls.length).toBeGreaterThan(1)
  expect(new Set(calls)).toEqual(new Set([first]))
  expect(await store.messages({ limit: 10 })).toEqual([])
  await expect.poll(() => new Set(calls).size).toBe(3)
})

test('a node that dies while it cleans up is followed by another when its lease has run out', async () => {
  const store = await storeWithExpired()
  await ask(store, part([CLEANING_KEY]), { nodeId: 'dead', staleAfterMs: 300 })
  const [row] = await store.sessions({ limit: 1 })
  nodeOver(store, { nodeId: 'alive', cleanupEveryMs: 5 })
  await expect.poll(() => store.messages({ limit: 10 }), { timeout: 5000 }).toEqual([])
  expect(Date.now()).toBeGreaterThanOrEqual(row?.expiresAt ?? 0)
})

test('a node whose row was given to another stops cleaning up', async () => {
  const store = await storeWithExpired()
  const told = new EventEmitter()
  let batches = 0
  const taking: Store = Object.assign(Object.create(store), {
    async claim(claims: Parameters<Store['claim']>[0]) {
      if (batches > 0) told.emit('anew', batches)
      return store.claim(claims)
    },
    async cleanup(options: Parameters<Store['cleanup']>[0]) {
      batches += 1
      await store.release([CLEANING_KEY])
      // Until the lease is to be renewed.
      await untilClockPasses(store, Date.now() + 50)
      return store.cleanup(options)
    },
  })
  const anew = once(told, 'anew')
  nodeOver(taking, { cleanupEveryMs: 5, staleAfterMs: 100 })
  expect(await anew).toEqual([1])
})

test('a batch is made smaller where its rows take long, and larger where they do not, whatever a call takes by itself', async () => {
  const limits: number[] = []
  let nowMs = 0
  const store: Store = Object.assign(Object.create(memoryStore()), {
    inThread: false,
    async cleanup({ limit }: Parameters<Store['cleanup']>[0]) {
      limits.push(limit)
      const rowMs = limits.length <= 32 ? 1 : 0.005
      // Each second one waits for something else.
      nowMs += 5 + limit * rowMs + (limits.length % 2) * 50
      return { messages: limit, sessions: 0, more: limits.length < 80 }
    },
  })
  const engine = createEngine(resolveOptions({ store, logger: false }, { ...nodePort, now: () => nowMs }))
  await cleanUp(engine, store, async () => true)
  expect([0, 8, 16, 24].map((call) => limits[call])).toEqual([20, 40, 20, 40])
  expect(limits.at(-1)).toBeGreaterThan(200)
})

test('a batch for which all of this process waits is smaller', async () => {
  const limits: number[] = []
  let nowMs = 0
  const store: Store = Object.assign(Object.create(memoryStore()), {
    async cleanup({ limit }: Parameters<Store['cleanup']>[0]) {
      limits.push(limit)
      nowMs += 0.05 + limit * 0.02
      return { messages: limit, sessions: 0, more: limits.length < 80 }
    },
  })
  const engine = createEngine(resolveOptions({ store, logger: false }, { ...nodePort, now: () => nowMs }))
  await cleanUp(engine, store, async () => true)
  expect(limits[0]).toBe(2)
  expect(limits.at(-1)).toBeGreaterThan(8)
  expect(Math.max(...limits)).toBeLessThan(20)
})

test.each([
  ['in the database', false, [12, 6, 4, 3]],
  ['in this thread', true, [30, 15, 10, 7.5]],
])('a clean-up %s that does not come to its end rests less and less', async (_, inThread, expected) => {
  let nowMs = 0
  let batches = 0
  const store: Store = Object.assign(Object.create(memoryStore()), {
    inThread,
    async cleanup({ limit }: Parameters<Store['cleanup']>[0]) {
      batches += 1
      nowMs += 2
      return { messages: limit, sessions: 0, more: batches < 5 }
    },
  })
  const engine = createEngine(resolveOptions({ store, logger: false }, { ...nodePort, now: () => nowMs }))
  const rests: number[] = []
  await cleanUp(engine, store, async (forMs) => {
    rests.push(forMs)
    nowMs += 3_600_000
    return true
  })
  expect(rests.map((rest) => Math.round(rest * 10) / 10)).toEqual(expected)
})

test('close ends a clean-up between two batches, and gives its row back', async () => {
  const store = await storeWithExpired()
  const told = new EventEmitter()
  const lock = nodeOver(watched(store, told, 'a'), { cleanupEveryMs: 5 })
  const [, limit] = await once(told, 'batch')
  await lock.close()
  expect(await store.messages({ limit: EXPIRED })).toHaveLength(EXPIRED - limit)
  expect(await store.sessions({ limit: 10 })).toEqual([])
})
