/** A delivery of very many messages costs each of them once, however many wait with the same. */
import { expect, test } from 'vitest'
import { createSessionLock } from '../../src/index.ts'

test('10 000 people in one delivery, which comes three times at once: handled once, and soon', {
  timeout: 60_000,
}, async () => {
  const lock = createSessionLock({ store: 'memory:', logger: false, lockWaitMs: 60_000 })
  const messages = Array.from({ length: 10_000 }, (_, index) => ({ id: `m${index}`, prospect: `p${index}` }))
  const claim = () => lock.claim({ provider: 'generic', messages })
  const [first, ...others] = [claim(), claim(), claim()]
  const acquired = await first
  expect(acquired).toMatchObject({ outcome: 'acquired', hold: { duplicates: [] } })
  if (acquired?.outcome === 'acquired') await acquired.hold.settle({ status: 'completed' })
  for (const other of await Promise.all(others)) expect(other).toMatchObject({ outcome: 'duplicate', of: 'completed' })
  expect((await lock.stats()).node).toMatchObject({ acquired: 10_000, duplicates: 2 })
  await lock.close()
})
