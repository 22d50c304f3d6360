/** What is counted and told of deliveries of which a part is had, and of those that the inbox knows already. */
import { expect, onTestFinished, test } from 'vitest'
import { createSessionLock, type SessionLock, type SessionLockOptions } from '../../src/index.ts'
import { collectMetrics } from '../../src/metrics/prometheus.ts'
import { memoryStore } from '../../src/store/memory.ts'

function open(options: SessionLockOptions = {}): SessionLock {
  const lock = createSessionLock({ store: memoryStore(), logger: false, ...options })
  onTestFinished(() => lock.close())
  return lock
}

/** The series of these names that are not 0, by their labels. */
async function counted(text: Promise<string>, name: string): Promise<Record<string, number>> {
  const lines = (await text).split('\n').filter((line) => line.startsWith(`session_lock_${name}`))
  const values = lines.map((line) => [
    line.slice('session_lock_'.length, line.lastIndexOf(' ')),
    Number(line.split(' ').at(-1)),
  ])
  return Object.fromEntries(values.filter(([, value]) => value !== 0))
}

test('of a delivery that is had in part, what was not is counted and told too', async () => {
  const lock = open({ lockWaitMs: 1 })
  const metrics = collectMetrics(lock)
  const told: unknown[] = []
  lock.on('acquired', ({ messageIds }) => told.push(['acquired', messageIds]))
  lock.on('duplicate', ({ messageIds, of }) => told.push([of, messageIds]))
  lock.on('busy', ({ messageIds, heldBy }) => told.push(['busy', messageIds, heldBy?.nodeId]))
  await lock.run({ messageId: 'done', prospect: 'ada' }, () => 1)
  const holding = await lock.claim({ provider: 'generic', messages: [{ id: 'held', prospect: 'bob' }] })
  told.length = 0
  const outcome = await lock.claim({
    provider: 'generic',
    messages: [
      { id: 'done', prospect: 'ada' },
      { id: 'fresh', prospect: 'ada' },
      { id: 'other', prospect: 'bob' },
    ],
  })
  expect(outcome).toMatchObject({
    outcome: 'acquired',
    hold: { fresh: [1], duplicates: [0], withheld: { messages: [2] } },
  })
  expect(told).toEqual([
    ['acquired', ['fresh']],
    ['completed', ['done']],
    ['busy', ['other'], lock.options.nodeId],
  ])
  for (const claimed of [holding, outcome])
    if (claimed.outcome === 'acquired') await claimed.hold.settle({ status: 'completed' })
  expect(await counted(metrics.text(), 'claims_total')).toEqual({
    'claims_total{outcome="acquired",provider="generic"}': 3,
    'claims_total{outcome="duplicate",provider="generic"}': 1,
    'claims_total{outcome="busy",provider="generic"}': 1,
  })
  expect(lock.counts()).toMatchObject({ acquired: 3, duplicates: 1, busy: 1 })
})
