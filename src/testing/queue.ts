/** The durable queue: what is stored is handled, in order, and by one at a time. For stores that have one. */
import assert from 'node:assert/strict'
import type { Store } from '../store/store.ts'
import {
  ALL,
  acquire,
  ask,
  CLOCKS_APART_MS,
  complete,
  LONG_MS,
  message,
  messageOf,
  only,
  part,
  SHORT_MS,
  settle,
} from './asking.ts'
import { arrivalOf, enqueue, finish, handleAll, keysOf, queueOf, requeue, rowIn, take } from './queueing.ts'
import { assertClosed, until, untilStale } from './waiting.ts'
import type { Check } from './world.ts'

export const queueChecks: readonly Check[] = [
  {
    promise: 'a queued message is taken with all that was stored of it, and by nobody else',
    run: async ({ open }) => takenOnce(await open(), await open()),
  },
  {
    promise: 'a message that is queued, in hand, completed or dead is known, and one that failed is not',
    run: async ({ open }) => knownMessages(await open()),
  },
  {
    promise: 'an arrival repeated under the same owner is queued again, and stored once',
    run: async ({ open }) => {
      const store = await open()
      const arrival = arrivalOf('S', ['m1', 'm2'])
      assert.deepEqual(await enqueue(store, arrival), ['queued', 'queued'])
      assert.deepEqual(await enqueue(store, arrival), ['queued', 'queued'])
      assert.deepEqual(await handleAll(store), ['m1', 'm2'])
    },
  },
  {
    promise: 'messages of a session are taken in the order of their arrival, and those of one arrival in its order',
    run: async ({ open }) => {
      const [first, second] = [await open(), await open()]
      await enqueue(first, arrivalOf('S', ['m1', 'm2']))
      await enqueue(second, arrivalOf('S', ['m3']))
      await queueOf(first).enqueue([arrivalOf('S', ['m4']), arrivalOf('T', ['n1']), arrivalOf('S', ['m5'])])
      const handled = await handleAll(second)
      assert.deepEqual(
        handled.filter((key) => key.startsWith('m')),
        ['m1', 'm2', 'm3', 'm4', 'm5'],
      )
      assert.deepEqual(await queueOf(first).depth(), { sessions: 0, stopped: 0, messages: 0, oldestMs: null })
      assert.deepEqual(await first.sessions({ limit: ALL }), [])
    },
  },
  {
    promise: 'several of the first messages of a session are taken together where that is asked for',
    run: async ({ open }) => {
      const store = await open()
      await enqueue(store, arrivalOf('S', ['m1', 'm2', 'm3']))
      const taken = only(await take(store, 5, { messagesEach: 2 }))
      assert.deepEqual(keysOf(taken), ['m1', 'm2'])
      assert.deepEqual((await rowIn(store, 'S')).messageKeys, ['m1', 'm2'])
      assert.equal(await finish(store, taken, { next: 'go-on' }), 'settled')
      assert.deepEqual(await handleAll(store), ['m3'])
    },
  },
  {
    promise: 'no more sessions are taken than were asked for, each with a token above the one that was told',
    run: async ({ open }) => {
      const store = await open()
      const tokenAbove = (await acquire(store, part(['clock']))).token + 10 ** 12
      for (const key of ['S', 'T', 'U']) await enqueue(store, arrivalOf(key, [`of ${key}`]))
      const taken = await take(store, 2, { tokenAbove })
      assert.equal(taken.length, 2)
      assert.ok(taken.every(({ fencingToken }) => fencingToken > tokenAbove))
      assert.equal((await take(store, 2)).length, 1)
    },
  },
  {
    promise: 'a failure of a direct claim takes no message out of the queue',
    run: async ({ open }) => {
      const store = await open()
      const direct = await acquire(store, part(['S'], ['m1']))
      assert.deepEqual(await enqueue(store, arrivalOf('S', ['m1'])), ['queued'])
      assert.notEqual(await settle(store, direct, { outcome: 'failed', error: 'no use' }), 'lost')
      assert.equal((await messageOf(store, 'm1'))?.status, 'queued')
      assert.deepEqual(await handleAll(store), ['m1'])
    },
  },
  {
    promise: 'a message queued again while its session is in hand is handled after that',
    run: async ({ open }) => {
      const store = await open()
      const direct = await acquire(store, part(['S'], ['m1']))
      await enqueue(store, arrivalOf('S', ['m1', 'm2']))
      await settle(store, direct)
      const taken = await until('the session is due again', async () => (await take(store, 1, { messagesEach: 5 }))[0])
      assert.deepEqual(keysOf(taken), ['m2'])
      await requeue(store, 'm1', 'completed')
      assert.equal(await finish(store, taken, { next: 'go-on' }), 'settled')
      assert.deepEqual(await handleAll(store), ['m1'])
    },
  },
  {
    promise: 'stuck work is taken over when its lease has run out, with a larger token; its zombie settles nothing',
    run: async ({ open }) => stuck(await open(), await open()),
  },
  {
    promise: 'work whose lease is renewed is taken by nobody, also after the lease would first have run out',
    run: async ({ open }) => {
      const store = await open()
      await enqueue(store, arrivalOf('S', ['m1']))
      const { claim, fencingToken } = only(await take(store, 1, { staleAfterMs: SHORT_MS }))
      const { owner } = claim
      const { expiresAt } = await rowIn(store, 'S')
      await store.renew([{ owner, rows: [{ key: 'S', fencingToken }], staleAfterMs: LONG_MS }])
      await enqueue(store, arrivalOf('clock', ['n']))
      await until('the lease would have run out', async () => {
        // Two, as the session whose lease was renewed is due as well, and found held.
        const probe = only(await take(store, 2))
        const { lockedAt } = await rowIn(store, 'clock')
        assert.deepEqual(keysOf(probe), ['n'])
        await finish(store, probe, { next: 'give-back' }, { outcome: 'released' })
        return lockedAt > expiresAt
      })
    },
  },
  {
    promise: 'a direct claim of a session with queued messages is held, in flight for a queued one, until all are done',
    run: async ({ open }) => {
      const store = await open()
      await enqueue(store, arrivalOf('S', ['m1']))
      const other = await ask(store, part(['S'], ['direct']))
      assert.deepEqual([other.outcome, other.outcome === 'held' && other.holder.messageKeys], ['held', []])
      const same = await ask(store, part(['S'], ['m1']))
      assert.deepEqual([same.outcome, same.outcome === 'held' && same.holder.messageKeys], ['held', ['m1']])
      assert.deepEqual(await handleAll(store), ['m1'])
      assert.equal((await ask(store, part(['S'], ['m1']))).outcome, 'completed')
      assert.equal((await ask(store, part(['S'], ['direct']))).outcome, 'acquired')
    },
  },
  {
    promise: 'a session in the hands of a direct claim is not taken; what that claim completes is not handled again',
    run: async ({ open }) => {
      const store = await open()
      const lease = await acquire(store, part(['S'], ['m1']), { staleAfterMs: SHORT_MS * 8 })
      await enqueue(store, arrivalOf('S', ['m1', 'm2']))
      assert.deepEqual(await take(store), [])
      assert.equal(await settle(store, lease), 'settled')
      const taken = await until('the session is due again', async () => (await take(store))[0])
      assert.deepEqual(keysOf(taken), ['m2'])
    },
  },
  {
    promise: 'a session is due when nothing more has come for a while, but not long after its first message',
    run: async ({ open }) => gathered(await open()),
  },
  {
    promise: 'a queued message can be discarded, and one in hand cannot',
    run: async ({ open }) => {
      const store = await open()
      await enqueue(store, arrivalOf('S', ['m1', 'm2']))
      assert.equal(await queueOf(store).discard(['m1'], LONG_MS), 1)
      const taken = only(await take(store))
      assert.deepEqual(keysOf(taken), ['m2'])
      assert.equal(await queueOf(store).discard(['m2'], LONG_MS), 0)
      assert.equal(await finish(store, taken, { next: 'go-on' }), 'settled')
      assert.equal((await store.look([message('m1'), message('m2')])).length, 2)
    },
  },
  {
    promise: 'a completed message can be queued again',
    run: async ({ open }) => {
      const store = await open()
      await enqueue(store, arrivalOf('S', ['m1']))
      assert.deepEqual(await handleAll(store), ['m1'])
      assert.equal(await requeue(store, 'm1', 'completed'), 1)
      assert.deepEqual(await handleAll(store), ['m1'])
      await complete(store, 'direct')
      assert.equal(await requeue(store, 'direct', 'completed'), 0)
    },
  },
  {
    promise: 'the queue tells for which sessions in hand more has come, and how much waits',
    run: async ({ open }) => {
      const store = await open()
      await enqueue(store, arrivalOf('S', ['m1']))
      await enqueue(store, arrivalOf('T', ['n1']))
      await take(store, 2)
      assert.deepEqual(await queueOf(store).haveMore(['S', 'T']), [])
      await enqueue(store, arrivalOf('S', ['m2']))
      assert.deepEqual(await queueOf(store).haveMore(['S', 'T']), ['S'])
      const { oldestMs, ...depth } = await queueOf(store).depth()
      assert.deepEqual(depth, { sessions: 2, stopped: 0, messages: 3 })
      assert.ok(oldestMs !== null && oldestMs >= 0)
      assert.equal((await store.stats()).messages.queued, 3)
    },
  },
  {
    promise: 'calls of the queue after close reject with a StoreError; none hangs',
    run: async ({ open }) => callsAfterClose(await open()),
  },
  {
    promise: 'a source’s position moves only from where it was read, together with what was read',
    run: async ({ open }) => positions(await open(), await open()),
  },
]

async function callsAfterClose(store: Store): Promise<void> {
  const queue = queueOf(store)
  await store.close()
  await assertClosed({
    enqueue: () => queue.enqueue([arrivalOf('S', ['m1'])]),
    take: () => take(store),
    haveMore: () => queue.haveMore(['S']),
    requeue: () => requeue(store, 'm1', 'dead'),
    discard: () => queue.discard(['m1'], LONG_MS),
    depth: () => queue.depth(),
    position: () => queue.position('orders'),
    enqueueFrom: () => queue.enqueueFrom('orders', null, '10', arrivalOf('S', ['m2'])),
  })
}

async function takenOnce(store: Store, other: Store): Promise<void> {
  assert.deepEqual(await take(store), [])
  await enqueue(store, arrivalOf('S', ['m1']))
  assert.equal((await messageOf(store, 'm1'))?.status, 'queued')
  const taken = only(await take(store, 3))
  assert.deepEqual(await take(other, 3), [])
  const stored = only(taken.messages)
  assert.deepEqual([stored.key, stored.provider, stored.device, stored.id], ['m1', 'test', 'device', 'id'])
  assert.equal(Buffer.from(stored.payload).toString(), '\0m1')
  assert.ok(Math.abs(Date.now() - stored.receivedAt) < CLOCKS_APART_MS, `no epoch time in ms: ${stored.receivedAt}`)
  assert.deepEqual([taken.attempt, taken.takeover], [1, null])
  const held = await rowIn(other, 'S')
  assert.deepEqual([held.owner, held.nodeId, held.fencingToken], [taken.claim.owner, 'node-1', taken.fencingToken])
  assert.deepEqual([held.prospect, held.device, held.messageKeys], ['prospect', 'device', ['m1']])
  assert.equal((await ask(other, part(['S'], ['m1']))).outcome, 'held')
  assert.equal(await finish(store, taken, { next: 'go-on' }), 'settled')
  const done = await messageOf(store, 'm1')
  assert.deepEqual([done?.status, done?.attempts, done?.sessionKey], ['completed', 1, 'S'])
  assert.deepEqual(await take(other), [])
  assert.equal(await finish(store, taken, { next: 'go-on' }), 'settled')
}

async function knownMessages(store: Store): Promise<void> {
  const again = (key: string) => enqueue(store, arrivalOf('S', [key]))
  assert.deepEqual(await again('m1'), ['queued'])
  assert.deepEqual(await again('m1'), ['known'])
  const taken = only(await take(store))
  assert.deepEqual(await again('m1'), ['known'])
  await finish(store, taken, { next: 'go-on' })
  assert.deepEqual(await again('m1'), ['known'])
  await again('m2')
  await finish(store, only(await take(store)), { next: 'go-on' }, { outcome: 'failed', error: 'dead' })
  assert.deepEqual(await again('m2'), ['known'])
  await complete(store, 'm3', { outcome: 'failed', error: 'a direct claim failed' })
  assert.deepEqual(await enqueue(store, arrivalOf('S', ['m1', 'm3', 'm4'])), ['known', 'queued', 'queued'])
  assert.deepEqual(await handleAll(store), ['m3', 'm4'])
}

async function stuck(store: Store, other: Store): Promise<void> {
  await enqueue(store, arrivalOf('S', ['m1', 'm2']))
  const zombie = only(await take(store, 1, { staleAfterMs: SHORT_MS }))
  await untilStale(store, 'S')
  const successor = await until('the stuck work is due', async () => (await take(other))[0])
  assert.deepEqual([keysOf(successor), successor.attempt], [['m1'], 2])
  assert.equal(successor.takeover?.owner, zombie.claim.owner)
  assert.ok(successor.fencingToken > zombie.fencingToken)
  assert.equal(await finish(store, zombie, { next: 'go-on' }), 'lost')
  assert.deepEqual(await take(store), [])
  assert.equal(await finish(other, successor, { next: 'go-on' }), 'settled')
  assert.deepEqual(await handleAll(store), ['m2'])
}

async function gathered(store: Store): Promise<void> {
  const gather = { quietMs: LONG_MS, mostMs: LONG_MS * 2 }
  await enqueue(store, arrivalOf('S', ['m1'], gather))
  assert.deepEqual(await take(store), [])
  // So long after the first that no more may be waited for.
  await enqueue(store, arrivalOf('S', ['m2'], { quietMs: LONG_MS, mostMs: 0 }))
  const taken = await until('the session is due', async () => (await take(store, 1, { messagesEach: 9 }))[0])
  assert.deepEqual(keysOf(taken), ['m1', 'm2'])
  await enqueue(store, arrivalOf('S', ['m3'], gather))
  assert.equal(await finish(store, taken, { next: 'go-on' }), 'settled')
  assert.deepEqual(await handleAll(store), ['m3'])
  await enqueue(store, arrivalOf('S', ['m4'], { quietMs: 1, mostMs: LONG_MS }))
  await until('the session is due, as nothing more has come', async () => (await take(store))[0])
}

async function positions(store: Store, other: Store): Promise<void> {
  const queue = queueOf(store)
  assert.equal(await queue.position('orders'), null)
  assert.deepEqual(await queue.enqueueFrom('orders', null, '10', arrivalOf('S', ['m1'])), ['queued'])
  assert.equal(await queue.enqueueFrom('orders', null, '20', arrivalOf('S', ['m2'])), null)
  assert.equal(await queueOf(other).position('orders'), '10')
  const both = [store, other].map((one) => queueOf(one).enqueueFrom('orders', '10', '20', arrivalOf('S', ['m1', 'm3'])))
  const verdicts = await Promise.all(both)
  assert.deepEqual(
    verdicts.filter((verdict) => verdict !== null),
    [['known', 'queued']],
  )
  assert.equal(await queue.position('orders'), '20')
  assert.equal(await queue.position('other'), null)
  assert.deepEqual(await handleAll(store), ['m1', 'm3'])
}
