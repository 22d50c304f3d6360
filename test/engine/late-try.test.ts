/** Tries whose answer was lost: carried out when the claim has long gone on, or carried out and asked for again. */
import { expect, onTestFinished, test } from 'vitest'
import { createSessionLock, type SessionLockOptions } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'
import { type Claim, type Store, StoreError } from '../../src/store/store.ts'

const message = (id: string, prospect: string) => ({ id, prospect, device: 'bot' })

test('a late try of a claim takes nothing away from what the claim got in the end', async () => {
  const inner = memoryStore()
  let late: (() => Promise<unknown>) | undefined
  const store: Store = {
    ...inner,
    async claim(claims: readonly Claim[]) {
      const isOfTwo = claims.some(({ parts }) => parts.length === 2)
      if (!isOfTwo || late) return inner.claim(claims)
      late = () => inner.claim(claims)
      throw new StoreError('unreachable', 'the answer was lost', { answerLost: true })
    },
  }
  const lock = createSessionLock({ store, logger: false, lockWaitMs: 50 })
  const other = createSessionLock({ store: inner, logger: false })
  onTestFinished(async () => void (await Promise.all([lock.close(), other.close()])))
  const held = await other.claim({ provider: 'generic', messages: [message('m0', 'bob')] })
  // Ada's part is free, and had when time is up; Bob's is not.
  const outcome = await lock.claim({ provider: 'generic', messages: [message('m1', 'ada'), message('m2', 'bob')] })
  if (outcome.outcome !== 'acquired' || held.outcome !== 'acquired') throw new Error('not acquired')
  expect(outcome.hold.leases.map(({ prospect }) => prospect)).toEqual(['ada'])
  await late?.()
  expect((await lock.sessions()).map(({ prospect }) => prospect).sort()).toEqual(['ada', 'bob'])
  await outcome.hold.settle({ status: 'completed' })
  await held.hold.settle({ status: 'completed' })
  expect(await lock.messages({ status: 'completed' })).toHaveLength(2)
  expect(await lock.sessions()).toEqual([])
})

/** The answer to the first settlement is lost, when it is written and `meanwhile` has happened. */
function losingFirstAnswer(inner: Store, meanwhile: () => Promise<unknown>): Store {
  let isLost = false
  return {
    ...inner,
    async settle(settlements) {
      const verdicts = await inner.settle(settlements)
      if (isLost) return verdicts
      isLost = true
      await meanwhile()
      throw new StoreError('unreachable', 'the answer was lost', { answerLost: true })
    },
  }
}

function watched(store: Store, options: SessionLockOptions = {}) {
  const lock = createSessionLock({ store, logger: false, ...options })
  onTestFinished(() => lock.close())
  const told: string[] = []
  lock.on('lease_lost', ({ loss }) => told.push(`lost: ${loss}`))
  lock.on('failed', () => told.push('failed'))
  lock.on('released', () => told.push('released'))
  return { lock, told }
}

test('a settlement that is asked for again is no lost lease, though somebody else has handled the message since', async () => {
  const inner = memoryStore()
  const other = watched(inner)
  const one = { messageId: 'm1', prospect: 'ada', device: 'bot' }
  const { lock, told } = watched(losingFirstAnswer(inner, () => other.lock.run(one, async () => undefined)))
  const failing = lock.run(one, async () => {
    throw new Error('out of paper')
  })
  await expect(failing).rejects.toThrow('out of paper')
  expect(other.told).toEqual(['released'])
  expect(told).toEqual(['failed'])
})

test('nor is that of a session alone', async () => {
  const { lock, told } = watched(losingFirstAnswer(memoryStore(), async () => undefined))
  expect(await lock.run({ session: 'report' }, async () => 'done')).toMatchObject({
    status: 'processed',
    value: 'done',
  })
  expect(told).toEqual(['released'])
})

test('but it is one where the lease had run out, and somebody else took it over', async () => {
  const inner = memoryStore()
  const other = watched(inner)
  const one = { messageId: 'm1', prospect: 'ada', device: 'bot' }
  let isFirst = true
  const store: Store = {
    ...inner,
    async settle(settlements) {
      if (!isFirst) return inner.settle(settlements)
      isFirst = false
      await other.lock.run(one, async () => undefined)
      throw new StoreError('unreachable', 'the answer was lost', { answerLost: true })
    },
  }
  const { lock, told } = watched(store, { staleAfterMs: 200 })
  const failing = lock.run(one, async () => {
    throw new Error('out of paper')
  })
  await expect(failing).rejects.toThrow('out of paper')
  expect(other.told).toEqual(['released'])
  expect(told).toEqual(['lost: refused'])
})
