/** What is counted and told of deliveries of which a part is had, and of those that the inbox knows already. */
import { expect, onTestFinished, test } from 'vitest'
import { createInbox } from '../../src/inbox/index.ts'
import { createSessionLock, type SessionLock, type SessionLockOptions } from '../../src/index.ts'
import { collectMetrics } from '../../src/metrics/prometheus.ts'
import { memoryStore } from '../../src/store/memory.ts'
import { gate } from '../http/bot.ts'

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

test('what the inbox has in hand is held, and what it knows already is a duplicate', async () => {
  const lock = open({ store: 'sqlite::memory:' })
  const metrics = collectMetrics(lock)
  const [started, end] = [gate(), gate()]
  const inbox = createInbox({
    lock,
    handler() {
      started.pass()
      return end.passed
    },
  })
  onTestFinished(() => inbox.stop())
  await inbox.start()
  const told: unknown[] = []
  lock.on('duplicate', ({ messageIds, prospect, of }) => told.push([messageIds, prospect, of]))
  const accept = (...ids: string[]) =>
    inbox.accept({ provider: 'test', messages: ids.map((id) => ({ id, prospect: 'ada' })) }, {})
  await accept('m1')
  await started.passed
  expect(await counted(metrics.text(), 'leases_held')).toEqual({ leases_held: 1 })
  expect(lock.counts()).toMatchObject({ holding: 1, acquired: 1 })
  expect(await accept('m1')).toBe('duplicate')
  expect(await accept('m1', 'm2')).toBe('queued')
  expect(told).toEqual([
    [['m1'], 'ada', 'completed'],
    [['m1'], 'ada', 'completed'],
  ])
  end.pass()
  await expect.poll(() => lock.counts().holding).toBe(0)
  expect(await counted(metrics.text(), 'claims_total{outcome="duplicate"')).toEqual({
    'claims_total{outcome="duplicate",provider="test"}': 2,
  })
  expect(lock.counts()).toMatchObject({ duplicates: 2 })
})

test('a session that is begun again with a newer message has not failed', async () => {
  const lock = open({ store: 'sqlite::memory:' })
  const metrics = collectMetrics(lock)
  const failures: unknown[] = []
  lock.on('failed', (event) => failures.push(event))
  const [started, again] = [gate(), gate()]
  const inbox = createInbox({
    lock,
    onNewer: 'abort',
    gatherMs: 20,
    handler(messages, { signal }) {
      if (messages.length === 2) return again.pass()
      started.pass()
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    },
  })
  onTestFinished(() => inbox.stop())
  await inbox.start()
  for (const id of ['m1', 'm2']) {
    await inbox.accept({ provider: 'test', messages: [{ id, prospect: 'ada' }] }, {})
    await started.passed
  }
  await again.passed
  await expect.poll(() => lock.counts().holding).toBe(0)
  expect(failures).toEqual([])
  expect(await counted(metrics.text(), 'handled_total')).toEqual({
    'handled_total{result="completed",provider="test"}': 1,
  })
})
