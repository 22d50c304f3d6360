/** Receivers and workers of one queue, all at once. */
import assert from 'node:assert/strict'
import type { Store } from '../store/store.ts'
import { arrivalOf, enqueue, finish, keysOf, queueOf, take } from './queueing.ts'
import type { Check } from './world.ts'

const SESSIONS = 4
const MESSAGES = Array.from({ length: 60 }, (_, index) => String(index).padStart(3, '0'))
/** So long nothing comes out of a queue only where nothing will. */
const PATIENCE_MS = 10_000

export const queueRaceChecks: readonly Check[] = [
  {
    promise: 'many handles that receive, take and finish at once: each message once, in order, and none is left behind',
    run: async ({ open, random }) => raced(await Promise.all([open(), open(), open()]), random),
  },
]

async function raced(stores: readonly Store[], random: () => number): Promise<void> {
  const handled: string[] = []
  const missing = () => MESSAGES.filter((key) => !handled.includes(key))
  let cameAt = performance.now()
  const receive = async (store: Store) => {
    // Of one session only one is on its way at a time, so that the order of arrival is known.
    for (const key of MESSAGES) await enqueue(store, arrivalOf(`S${Number(key) % SESSIONS}`, [key]))
  }
  const work = async (store: Store) => {
    while (handled.length < MESSAGES.length) {
      const isLate = performance.now() - cameAt > PATIENCE_MS
      assert.ok(!isLate, `waited ${PATIENCE_MS} ms in vain for these messages: ${missing().join(', ')}`)
      // Else a store that answers without waiting for anything would keep the others from what they wait for.
      await new Promise((resolve) => setImmediate(resolve))
      for (const taken of await take(store, 1 + Math.floor(random() * SESSIONS))) {
        // In hand, so nobody else can come between.
        handled.push(...keysOf(taken))
        cameAt = performance.now()
        assert.equal(await finish(store, taken, { next: 'go-on' }), 'settled')
      }
    }
  }
  const [first, ...others] = stores as [Store, ...Store[]]
  await Promise.all([receive(first), ...others.map(work), work(first)])
  assert.deepEqual([...handled].sort(), MESSAGES)
  for (let session = 0; session < SESSIONS; session++) {
    const own = handled.filter((key) => Number(key) % SESSIONS === session)
    assert.deepEqual(own, [...own].sort())
  }
  assert.deepEqual(await queueOf(first).depth(), { sessions: 0, stopped: 0, messages: 0, oldestMs: null })
}
