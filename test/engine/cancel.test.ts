/** Whoever waits for a session, or for the store, may want it no longer. */
import { expect, onTestFinished, test } from 'vitest'
import { namedSessionKey } from '../../src/engine/keys.ts'
import { createSessionLock, type SessionLock } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'
import type { Claim, Store } from '../../src/store/store.ts'
import { type Gate, gate } from '../http/bot.ts'

function lockOver(store: Store): SessionLock {
  const lock = createSessionLock({ store, logger: false, lockWaitMs: 60_000 })
  onTestFinished(() => lock.close())
  return lock
}

const KEY = { session: 'wanted' }

/** The same store, which answers a claim when it is let; it tells how many there were. */
function answeringLate(store: Store, granted: Gate, answer: Gate): Store & { claims(): number } {
  let claims = 0
  return Object.assign(Object.create(store), {
    claims: () => claims,
    async claim(asked: readonly Claim[]) {
      claims += 1
      const verdicts = await store.claim(asked)
      granted.pass()
      await answer.passed
      return verdicts
    },
  })
}

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
  const slow = answeringLate(store, granted, answer)
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

test('nothing is taken for him again where the store has granted nothing', async () => {
  const store = memoryStore()
  const holder = createSessionLock({ store, logger: false })
  onTestFinished(() => holder.close())
  const [granted, answer, held] = [gate(), gate(), gate()]
  const slow = answeringLate(store, granted, answer)
  const running = holder.run(KEY, () => held.passed)
  await expect.poll(() => store.sessions({ limit: 1 })).toHaveLength(1)
  const controller = new AbortController()
  const lock = lockOver(slow)
  const run = lock.run(KEY, () => 'never', { signal: controller.signal })
  await granted.passed
  controller.abort(new Error('not needed any more'))
  await expect(run).rejects.toThrow('not needed any more')
  answer.pass()
  await lock.close()
  expect(slow.claims()).toBe(1)
  held.pass()
  expect(await running).toMatchObject({ status: 'processed' })
})

test('what a gone claim has taken over is told to whoever comes next, and close waits until it is given back', async () => {
  const store = memoryStore()
  const crashed = { key: namedSessionKey('wanted'), prospect: 'wanted', device: null }
  const parts = [{ rows: [crashed], messages: [] }]
  await store.claim([{ owner: 'crashed', nodeId: 'a', parts, whole: true, staleAfterMs: 1, tokenAbove: 0 }])
  await expect.poll(async () => (await store.sessions({ limit: 1 }))[0]?.stale).toBe(true)
  const [granted, answer] = [gate(), gate()]
  const slow = answeringLate(store, granted, answer)
  const controller = new AbortController()
  const lock = lockOver(slow)
  const run = lock.run(KEY, () => 'never', { signal: controller.signal })
  await granted.passed
  controller.abort(new Error('not needed any more'))
  await expect(run).rejects.toThrow('not needed any more')
  const closing = lock.close()
  answer.pass()
  await closing
  expect(await lockOver(store).run(KEY, () => 'done')).toEqual({ status: 'processed', value: 'done', takeover: true })
})

test('an alias is waited for no longer than the claim may take', async () => {
  const never = gate()
  const lock = createSessionLock({ store: memoryStore(), logger: false, alias: () => never.passed.then(() => 'anna') })
  onTestFinished(() => lock.close())
  const delivery = { provider: 'test', messages: [{ id: 'm1', prospect: '49', device: 'bot' }] }
  await expect(lock.claim(delivery, { answerWithinMs: 20 })).rejects.toThrow('"alias" gave no name')
  const controller = new AbortController()
  const claiming = lock.claim(delivery, { signal: controller.signal })
  controller.abort(new Error('not needed any more'))
  await expect(claiming).rejects.toThrow('not needed any more')
})
