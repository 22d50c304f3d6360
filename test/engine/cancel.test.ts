/** Whoever waits for a session, or for the store, may want it no longer. */
import { expect, onTestFinished, test } from 'vitest'
import { createSessionLock, type SessionLock } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'
import type { Claim, Store } from '../../src/store/store.ts'
import { gate } from '../http/bot.ts'

function lockOver(store: Store): SessionLock {
  const lock = createSessionLock({ store, logger: false, lockWaitMs: 60_000 })
  onTestFinished(() => lock.close())
  return lock
}

const KEY = { session: 'wanted' }

test('who waits in line is told the reason, and stands in nobody’s way', async () => {
  const lock = lockOver(memoryStore())
  const first = gate()
  const running = lock.run(KEY, () => first.passed)
  const controller = new AbortController()
  const second = lock.run(KEY, () => 'never', { signal: controller.signal })
  const third = lock.run(KEY, () => 'third')
  await expect.poll(() => lock.counts().waiting).toBe(2)
  controller.abort(new Error('not needed any more'))
  await expect(second).rejects.toThrow('not needed any more')
  expect(lock.counts().waiting).toBe(1)
  first.pass()
  expect(await running).toMatchObject({ status: 'processed' })
  expect(await third).toMatchObject({ status: 'processed', value: 'third' })
})

test('what the store grants after that is given back', async () => {
  const store = memoryStore()
  const granted = gate()
  const answer = gate()
  const slow: Store = Object.assign(Object.create(store), {
    claim: async (claims: readonly Claim[]) => {
      const verdicts = await store.claim(claims)
      granted.pass()
      await answer.passed
      return verdicts
    },
  })
  const controller = new AbortController()
  const run = lockOver(slow).run(KEY, () => 'never', { signal: controller.signal })
  await granted.passed
  controller.abort(new Error('not needed any more'))
  await expect(run).rejects.toThrow('not needed any more')
  expect(await store.sessions({ limit: 1 })).toHaveLength(1)
  answer.pass()
  await expect.poll(() => store.sessions({ limit: 1 })).toEqual([])
})

test('a signal that aborted before asks nobody; one that aborts later leaves the handler alone', async () => {
  const lock = lockOver(memoryStore())
  await expect(lock.run(KEY, () => 'never', { signal: AbortSignal.abort(new Error('too late')) })).rejects.toThrow(
    'too late',
  )
  const controller = new AbortController()
  const run = lock.run(
    KEY,
    async (lease) => {
      controller.abort(new Error('it has begun'))
      return lease.signal.aborted
    },
    { signal: controller.signal },
  )
  expect(await run).toMatchObject({ status: 'processed', value: false })
})
