/** What the clean-up takes, and what it must leave. */
import assert from 'node:assert/strict'
import type { Store } from '../store/store.ts'
import { acquire, ask, complete, keysHeld, LONG_MS, messageOf, part, rowOf, settle } from './asking.ts'
import { untilClockPasses, untilForgotten, untilStale } from './waiting.ts'
import type { Check } from './world.ts'

const EVERYTHING = { abandonedAfterMs: 0, limit: 100 }

export const cleanupChecks: readonly Check[] = [
  {
    promise: 'a clean-up removes messages whose retention is over, failed ones too, and no others',
    run: async ({ open }) => {
      const store = await open()
      await complete(store, 'kept')
      await complete(store, 'kept failed', { outcome: 'failed' })
      await complete(store, 'failed', { outcome: 'failed', retentionMs: 1 })
      await untilClockPasses(store, (await messageOf(store, 'failed'))?.expiresAt ?? 0)
      assert.equal((await store.cleanup(EVERYTHING)).sessions, 0)
      assert.equal(await messageOf(store, 'failed'), undefined)
      await complete(store, 'completed', { retentionMs: 1 })
      await untilForgotten(store, 'completed')
      await store.cleanup(EVERYTHING)
      const left = await store.messages({ limit: 10 })
      assert.deepEqual(left.map(({ key }) => key).sort(), ['kept', 'kept failed'])
    },
  },
  {
    promise: 'a message that expired and was completed anew is not cleaned up',
    run: async ({ open }) => {
      const store = await open()
      await complete(store, 'm', { retentionMs: 1 })
      await untilForgotten(store, 'm')
      await complete(store, 'm')
      await store.cleanup(EVERYTHING)
      assert.equal((await ask(store, part(['A'], ['m']))).outcome, 'completed')
    },
  },
  {
    promise: 'a message that is completed anew between two batches of a clean-up stays',
    run: async ({ open }) => {
      const store = await open()
      const keys = ['m1', 'm2']
      for (const key of keys) await complete(store, key, { retentionMs: 1 })
      for (const key of keys) await untilForgotten(store, key)
      await store.cleanup({ abandonedAfterMs: 0, limit: 1 })
      for (const key of keys) await complete(store, key)
      await store.cleanup(EVERYTHING)
      for (const key of keys) assert.equal((await ask(store, part(['A'], [key]))).outcome, 'completed')
    },
  },
  {
    promise: 'a clean-up removes rows that are stale for longer than asked, and never a live one',
    run: async ({ open }) => {
      const store = await open()
      await acquire(store, part(['live']))
      await acquire(store, part(['abandoned']), { staleAfterMs: 1 })
      await untilStale(store, 'abandoned')
      assert.equal((await store.cleanup({ abandonedAfterMs: LONG_MS, limit: 100 })).sessions, 0)
      assert.deepEqual(await keysHeld(store), ['abandoned', 'live'])
      await untilClockPasses(store, (await rowOf(store, 'abandoned')).expiresAt + 20)
      assert.equal((await store.cleanup({ abandonedAfterMs: 20, limit: 100 })).sessions, 1)
      assert.deepEqual(await keysHeld(store), ['live'])
    },
  },
  {
    promise: 'a row released by force is cleaned up like any stale one',
    run: async ({ open }) => {
      const store = await open()
      await acquire(store, part(['A']))
      await store.release(['A'])
      await untilClockPasses(store, (await rowOf(store, 'A')).expiresAt)
      assert.equal((await store.cleanup(EVERYTHING)).sessions, 1)
      assert.deepEqual(await store.sessions({ keys: ['A'], limit: 1 }), [])
    },
  },
  {
    promise: 'a clean-up takes at most as many rows of each table as asked, and tells how many',
    run: async ({ open }) => bounded(await open()),
  },
  {
    promise: 'much that has expired goes at last, and what lies between it stays',
    run: async ({ open }) => muchAtOnce(await open()),
  },
]

async function bounded(store: Store): Promise<void> {
  for (let index = 0; index < 5; index++) {
    await acquire(store, part([`row ${index}`]), { staleAfterMs: 1 })
    await complete(store, `m ${index}`, { retentionMs: 100 })
  }
  await untilStale(store, 'row 4')
  await untilClockPasses(store, (await messageOf(store, 'm 4'))?.expiresAt ?? 0)
  // A store may forget expired messages by itself, so only the rows left are counted.
  for (const expected of [2, 2, 1, 0]) {
    const before = (await store.messages({ limit: 100 })).length
    const report = await store.cleanup({ abandonedAfterMs: 0, limit: 2 })
    assert.equal(report.sessions, expected)
    assert.equal(report.messages, Math.min(2, before))
    assert.equal((await store.messages({ limit: 100 })).length, before - report.messages)
  }
  assert.deepEqual(await keysHeld(store), [])
}

/** So much that a store may find it in another way than a little. */
async function muchAtOnce(store: Store): Promise<void> {
  const [messages, kept] = [2700, 5]
  const keys = Array.from({ length: messages }, (_, index) => `m ${String((index * 7) % messages).padStart(4, '0')}`)
  const isKept = (key: string) => Number(key.slice(2)) % kept === 0
  for (const [retentionMs, chosen] of [
    [LONG_MS, keys.filter(isKept)],
    [1, keys.filter((key) => !isKept(key))],
  ] as const) {
    const lease = await acquire(store, part(['A'], chosen))
    assert.equal(await settle(store, lease, { retentionMs }), 'settled')
  }
  await untilForgotten(store, 'm 0001')
  for (let calls = 1; (await store.cleanup({ abandonedAfterMs: LONG_MS, limit: 300 })).more; calls += 1)
    assert.ok(calls < 100, 'a clean-up of 2160 messages is not over after 100 batches of 300')
  const left = await store.messages({ limit: messages })
  assert.deepEqual(left.map(({ key }) => key).sort(), keys.filter(isKept).sort())
}
