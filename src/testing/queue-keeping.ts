/** What is queued stays until it is handled, and as it came: through clean-ups and restarts, whatever it is made of. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { Store } from '../store/store.ts'
import { ALL, message, only, row, SHORT_MS } from './asking.ts'
import { KEYS } from './keys.ts'
import { arrivalOf, enqueue, finish, handleAll, keysOf, queueOf, requeue, take } from './queueing.ts'
import { until, untilStale } from './waiting.ts'
import type { Check } from './world.ts'

const EVERYTHING = { abandonedAfterMs: 0, limit: ALL }

const PAYLOADS = [
  Uint8Array.from({ length: 256 }, (_, byte) => byte),
  Uint8Array.from({ length: 2 ** 16 }, (_, index) => (index * 7919) % 256),
  new Uint8Array(),
]

export const queueKeepingChecks: readonly Check[] = [
  {
    promise: 'a clean-up leaves queued messages alone',
    run: async ({ open }) => {
      const store = await open()
      await enqueue(store, arrivalOf('S', ['m1']))
      const { messages, sessions } = await store.cleanup(EVERYTHING)
      assert.deepEqual({ messages, sessions }, { messages: 0, sessions: 0 })
      assert.deepEqual(await handleAll(store), ['m1'])
    },
  },
  {
    promise: 'a clean-up that removes the row of a dead worker leaves the messages that it had in hand',
    run: async ({ open }) => {
      const store = await open()
      await enqueue(store, arrivalOf('S', ['m1', 'm2']))
      const lost = only(await take(store, 1, { staleAfterMs: SHORT_MS }))
      await untilStale(store, 'S')
      await store.cleanup(EVERYTHING)
      const next = await until('the stuck work is due', async () => (await take(store))[0])
      assert.deepEqual([keysOf(next), next.attempt], [['m1'], 2])
      assert.ok(next.fencingToken > lost.fencingToken, `${next.fencingToken} after ${lost.fencingToken}`)
      assert.equal(await finish(store, next, { next: 'go-on' }), 'settled')
      assert.deepEqual(await handleAll(store), ['m2'])
    },
  },
  {
    promise: 'a clean-up leaves dead messages whose retention is not over, and their payload',
    run: async ({ open }) => {
      const store = await open()
      await enqueue(store, arrivalOf('S', ['m1']))
      await finish(store, only(await take(store)), { next: 'go-on' }, { outcome: 'failed', error: 'no use' })
      await store.cleanup(EVERYTHING)
      assert.equal(await requeue(store, 'm1', 'dead'), 1)
      assert.deepEqual(await handleAll(store), ['m1'])
    },
  },
  {
    promise: 'what is queued is still there when all have closed and one opens again',
    run: async ({ open }) => {
      const stores = [await open(), await open()]
      await enqueue(stores[0] as Store, arrivalOf('S', ['m1', 'm2']))
      await Promise.all(stores.map((store) => store.close()))
      assert.deepEqual(await handleAll(await open()), ['m1', 'm2'])
    },
  },
  {
    promise: 'payloads are kept byte by byte, empty ones and those of 64 KiB too',
    run: async ({ open }) => {
      const store = await open()
      const messages = PAYLOADS.map((payload, index) => ({ ...message(`m${index}`), row: row('S'), payload }))
      assert.deepEqual(await enqueue(store, { owner: randomUUID(), messages, gather: null }), Array(3).fill('queued'))
      const taken = only(await take(store, 1, { messagesEach: 3 }))
      const payloads = taken.messages.map(({ payload }) => Buffer.from(payload))
      assert.deepEqual(
        payloads,
        PAYLOADS.map((payload) => Buffer.from(payload)),
      )
    },
  },
  {
    promise: 'queued messages and their sessions are compared as bytes: none stands for another',
    run: async ({ open }) => {
      const store = await open()
      const verdicts = await queueOf(store).enqueue(KEYS.map((key) => arrivalOf(key, [key])))
      assert.deepEqual(verdicts, Array(KEYS.length).fill(['queued']))
      const taken = await take(store, KEYS.length)
      const pairs = taken.map((one) => [only(only(one.claim.parts).rows).key, ...keysOf(one)])
      assert.deepEqual(pairs.sort(), KEYS.map((key) => [key, key]).sort())
      for (const one of taken) assert.equal(await finish(store, one, { next: 'go-on' }), 'settled')
      assert.equal((await store.look(KEYS.map((key) => message(key)))).length, KEYS.length)
    },
  },
]
