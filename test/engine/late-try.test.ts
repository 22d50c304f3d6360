/** A try of a claim whose answer was lost, and that the store carries out when the claim has long gone on. */
import { expect, onTestFinished, test } from 'vitest'
import { createSessionLock } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'
import { type Claim, type Store, StoreError } from '../../src/store/store.ts'

const message = (id: string, prospect: string) => ({ id, prospect, device: 'bot' })

test('takes nothing away from what the claim got in the end', async () => {
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
