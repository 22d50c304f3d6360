/** Queued messages that are not handled at once: retried, given back, dead, and what that means for those behind them. */
import assert from 'node:assert/strict'
import type { Taken } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import { LONG_MS, message, messageOf, only } from './asking.ts'
import { arrivalOf, enqueue, finish, handleAll, keysOf, queueOf, requeue, take } from './queueing.ts'
import { until } from './waiting.ts'
import type { Check } from './world.ts'

export const retryChecks: readonly Check[] = [
  {
    promise:
      'a message that is begun for the last time comes alone, and those behind it have all their tries before them',
    run: async ({ open }) => lastAttempt(await open()),
  },
  {
    promise: 'a message that is to be retried stays first in line, is not due before its time, and counts its attempts',
    run: async ({ open }) => retried(await open()),
  },
  {
    promise: 'a dead message lets its session go on; requeued it stands at the end',
    run: async ({ open }) => {
      const store = await open()
      await enqueue(store, arrivalOf('S', ['m1', 'm2']))
      await finish(store, only(await take(store)), { next: 'go-on' }, { outcome: 'failed', error: 'no use' })
      const dead = await messageOf(store, 'm1')
      assert.deepEqual([dead?.status, dead?.lastError, dead?.attempts], ['dead', 'no use', 1])
      assert.equal((await store.look([message('m1')])).length, 1)
      assert.equal(await requeue(store, 'm1', 'dead'), 1)
      assert.equal(await requeue(store, 'm1', 'dead'), 0)
      assert.deepEqual(await handleAll(store), ['m2', 'm1'])
    },
  },
  {
    promise: 'a dead message that stops its session holds it up until it is requeued or discarded',
    run: async ({ open }) => stopped(await open()),
  },
  {
    promise: 'of several dead messages each stops its session by itself, and only what was queued again is taken',
    run: async ({ open }) => severalStopped(await open()),
  },
  {
    promise: 'work that was given back is due at once, and its attempt does not count',
    run: async ({ open }) => {
      const store = await open()
      await enqueue(store, arrivalOf('S', ['m1']))
      await finish(store, only(await take(store)), { next: 'give-back' }, { outcome: 'released' })
      const again = only(await take(store))
      assert.deepEqual([keysOf(again), again.attempt], [['m1'], 1])
    },
  },
]

async function retried(store: Store): Promise<void> {
  await enqueue(store, arrivalOf('S', ['m1', 'm2']))
  const failed = { outcome: 'failed', error: 'busy' } as const
  await finish(store, only(await take(store)), { next: 'retry', afterMs: 0 }, failed)
  const again = await until('the message is due again', async () => (await take(store))[0])
  assert.deepEqual([keysOf(again), again.attempt], [['m1'], 2])
  await finish(store, again, { next: 'retry', afterMs: LONG_MS }, failed)
  assert.deepEqual(await take(store), [])
  const waiting = await messageOf(store, 'm1')
  assert.deepEqual([waiting?.status, waiting?.lastError, waiting?.expiresAt], ['queued', 'busy', null])
  assert.deepEqual(await store.look([message('m1')]), [])
  assert.deepEqual(await enqueue(store, arrivalOf('S', ['m1', 'm3'])), ['known', 'queued'])
  assert.deepEqual(await take(store), [])
}

async function severalStopped(store: Store): Promise<void> {
  const several = { messagesEach: 5 }
  await enqueue(store, arrivalOf('S', ['m1', 'm2', 'm3']))
  const failed = { outcome: 'failed', error: 'no use' } as const
  await finish(store, only(await take(store, 1, several)), { next: 'stop' }, failed)
  await enqueue(store, arrivalOf('S', ['m4']))
  assert.equal(await queueOf(store).discard(['m1'], LONG_MS), 1)
  assert.deepEqual(await take(store, 1, several), [])
  assert.equal((await queueOf(store).depth()).stopped, 1)
  assert.equal(await requeue(store, 'm2', 'dead'), 1)
  const again = only(await take(store, 1, several))
  assert.deepEqual([keysOf(again), again.attempt], [['m2'], 1])
  await finish(store, again, { next: 'go-on' })
  assert.deepEqual(await take(store, 1, several), [])
  assert.equal(await queueOf(store).discard(['m3'], LONG_MS), 1)
  assert.deepEqual(await handleAll(store), ['m4'])
}

async function lastAttempt(store: Store): Promise<void> {
  const several = { messagesEach: 5, lastAttempt: 2 }
  const failed = { outcome: 'failed', error: 'no use' } as const
  await enqueue(store, arrivalOf('S', ['m1']))
  await finish(store, only(await take(store, 1, several)), { next: 'retry', afterMs: 0 }, failed)
  await enqueue(store, arrivalOf('S', ['m2', 'm3']))
  const last = await until('the message is due again', async () => (await take(store, 1, several))[0])
  assert.deepEqual([keysOf(last), last.attempt], [['m1'], 2])
  await finish(store, last, { next: 'go-on' }, failed)
  const others = only(await take(store, 1, several))
  assert.deepEqual([keysOf(others), others.attempt], [['m2', 'm3'], 1])
}

async function stopped(store: Store): Promise<void> {
  const fail = async (taken: Taken) => finish(store, taken, { next: 'stop' }, { outcome: 'failed', error: 'no use' })
  await enqueue(store, arrivalOf('S', ['m1', 'm2']))
  await fail(only(await take(store)))
  assert.equal((await messageOf(store, 'm1'))?.status, 'dead')
  await enqueue(store, arrivalOf('S', ['m3', 'm4']))
  assert.equal(await queueOf(store).discard(['m4'], LONG_MS), 1)
  assert.deepEqual(await take(store), [])
  assert.equal((await queueOf(store).depth()).stopped, 1)
  assert.equal(await requeue(store, 'm1', 'dead'), 1)
  const again = only(await take(store))
  assert.deepEqual([keysOf(again), again.attempt], [['m1'], 1])
  await fail(again)
  assert.equal(await queueOf(store).discard(['m1'], LONG_MS), 1)
  assert.deepEqual(await handleAll(store), ['m2', 'm3'])
}
